{{- define "countersign.labels" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/part-of: countersign
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* What tells the pods of one process from all others; immutable in a Deployment, so nothing that a release changes. */}}
{{- define "countersign.selector" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "countersign.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* What people will read: without a value, what the processes make of the UID of kube-system (domain/names.py), where Helm can ask for it. */}}
{{- define "countersign.clusterName" -}}
{{- $uid := dig "metadata" "uid" "" (lookup "v1" "Namespace" "" "kube-system") -}}
{{- .Values.clusterName | default (printf "cluster-%s" ($uid | default "xxxxxxxx" | trunc 8)) -}}
{{- end }}

{{- /* One process: {root, process, port, portName}. */}}
{{- define "countersign.deployment" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .process -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: countersign-{{ .process }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "countersign.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .process }}
spec:
  replicas: {{ $own.replicas }}
  selector:
    matchLabels:
      {{- include "countersign.selector" .process | nindent 6 }}
  strategy:
    type: RollingUpdate
    # A new replica is ready before an old one goes: guarded requests are refused whenever no webhook answers.
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      labels:
        {{- include "countersign.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .process }}
    spec:
      serviceAccountName: countersign-{{ .process }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      terminationGracePeriodSeconds: 30
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: {{ .process }}
        image: {{ include "countersign.image" $root | quote }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args: [{{ .process }}]
        env:
        - name: COUNTERSIGN_CLUSTER_NAME
          value: {{ $root.Values.clusterName | quote }}
        - name: COUNTERSIGN_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: COUNTERSIGN_REPLICA
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: COUNTERSIGN_REQUEST_TTL
          value: {{ $root.Values.requestTTL | quote }}
        - name: COUNTERSIGN_COOL_OFF
          value: {{ $root.Values.coolOff | quote }}
        - name: COUNTERSIGN_KEEP_ENDED
          value: {{ $root.Values.keepEnded | quote }}
        - name: COUNTERSIGN_MAX_OPEN_REQUESTS
          value: {{ $root.Values.maxOpenRequests | int | quote }}
        {{- if and (eq .process "webhook") $root.Values.apiServerClient.ca }}
        - name: COUNTERSIGN_CLIENT_CA
          value: {{ $root.Values.apiServerClient.ca | quote }}
        - name: COUNTERSIGN_CLIENT_NAMES
          value: {{ join "," $root.Values.apiServerClient.commonNames | quote }}
        {{- end }}
        - name: COUNTERSIGN_STALE_AFTER
          value: {{ $root.Values.staleAfter | quote }}
        - name: COUNTERSIGN_NAMESPACE_OWNERS
          value: {{ join "," $root.Values.namespaceOwners | quote }}
        - name: COUNTERSIGN_PROFILE
          value: {{ $root.Values.profile | quote }}
        - name: COUNTERSIGN_AUTHORIZER
          value: {{ $root.Values.authorizer.enabled | quote }}
        - name: COUNTERSIGN_AUTHORIZER_FOLDER
          value: {{ $root.Values.authorizer.folder | quote }}
        - name: COUNTERSIGN_POLICY_JAIL
          value: {{ or (eq $root.Values.policyJail "always") (and (eq $root.Values.policyJail "profile") (eq $root.Values.profile "hardened")) | quote }}
        - name: COUNTERSIGN_LOCKDOWN_AFTER_TAMPERING
          value: {{ $root.Values.lockdownAfterTampering | quote }}
        - name: COUNTERSIGN_GLASS_AHEAD
          value: {{ $root.Values.glassAhead | quote }}
        - name: COUNTERSIGN_LOG_LEVEL
          value: {{ $root.Values.logLevel | quote }}
        - name: COUNTERSIGN_LISTEN
          value: "0.0.0.0:{{ .port }}"
        ports:
        - {name: {{ .portName }}, containerPort: {{ .port }}, protocol: TCP}
        # The first certificate has to be made and the caches filled before a replica is ready; being alive needs neither.
        readinessProbe:
          httpGet: {path: /readyz, port: {{ .portName }}, scheme: {{ upper .portName }}}
          periodSeconds: 2
          timeoutSeconds: 2
          failureThreshold: 2
        livenessProbe:
          httpGet: {path: /livez, port: {{ .portName }}, scheme: {{ upper .portName }}}
          initialDelaySeconds: 10
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 3
        resources:
          {{- toYaml $own.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            {{- include "countersign.selector" .process | nindent 12 }}
      {{- with $own.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{- /* {root, process}. One replica has no budget: it would stop every drain of its node. */}}
{{- define "countersign.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: countersign-{{ .process }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "countersign.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .process }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "countersign.selector" .process | nindent 6 }}
{{- end }}
