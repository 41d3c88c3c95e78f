{{- define "countersign.labels" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/part-of: countersign
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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

{{- /* The Secret in which others bring the webhook's certificate; "" where nobody does. */}}
{{- define "countersign.broughtSecret" -}}
{{- if eq .Values.certificates.source "cert-manager" -}}
countersign-webhook-cert-manager
{{- else if eq .Values.certificates.source "provided" -}}
{{ .Values.certificates.provided.secretName }}
{{- end -}}
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
  {{- if not (dig "autoscaling" "enabled" false $own) }}
  replicas: {{ $own.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "countersign.selector" .process | nindent 6 }}
  strategy:
    type: RollingUpdate
    {{- if $own.hostNetwork }}
    # Where as many nodes as replicas hold the port, a new replica has no room until an old one is gone.
    rollingUpdate: {maxUnavailable: 1, maxSurge: 0}
    {{- else }}
    # A new replica is ready before an old one goes: guarded requests are refused whenever no webhook answers.
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "countersign.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .process }}
        {{- with $own.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $own.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: countersign-{{ .process }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      # More than a drain takes, which the process does by itself at SIGTERM: a preStop hook has nothing to add.
      terminationGracePeriodSeconds: 30
      {{- if $own.hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
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
        {{- if and (eq .process "operator") (include "countersign.broughtSecret" $root) }}
        - name: COUNTERSIGN_CERTIFICATE_SOURCE
          value: {{ $root.Values.certificates.source | quote }}
        - name: COUNTERSIGN_CERTIFICATE_SECRET
          value: {{ include "countersign.broughtSecret" $root | quote }}
        {{- with $root.Values.certificates.caBundle }}
        - name: COUNTERSIGN_CERTIFICATE_CA
          value: {{ . | quote }}
        {{- end }}
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
        - name: COUNTERSIGN_NOTE_EVERY
          value: {{ $root.Values.noteEvery | quote }}
        - name: COUNTERSIGN_LOG_LEVEL
          value: {{ $root.Values.logLevel | quote }}
        # By its family the process knows at which addresses to listen.
        - name: COUNTERSIGN_POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        - name: COUNTERSIGN_LISTEN
          value: "*:{{ .port }}"
        ports:
        - {name: {{ .portName }}, containerPort: {{ .port }}, protocol: TCP}
        # Two minutes to come up, on however slow a node. Then: the first certificate has to be made and the caches filled before a replica is
        # ready; being alive needs neither, nor the API server, whose absence a restart would not mend.
        startupProbe:
          httpGet: {path: /livez, port: {{ .portName }}, scheme: {{ upper .portName }}}
          periodSeconds: 1
          timeoutSeconds: 5
          failureThreshold: 120
        readinessProbe:
          httpGet: {path: /readyz, port: {{ .portName }}, scheme: {{ upper .portName }}}
          periodSeconds: 2
          timeoutSeconds: 2
          failureThreshold: 2
        livenessProbe:
          httpGet: {path: /livez, port: {{ .portName }}, scheme: {{ upper .portName }}}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 3
          # A process that hangs does not drain either: it is killed after this, not after the pod's grace period.
          terminationGracePeriodSeconds: 5
        resources:
          {{- toYaml $own.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
      # As evenly as can be over zones and nodes; never a reason not to run. Each rollout's pods by themselves, or the old ones would count.
      topologySpreadConstraints:
      {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
      - maxSkew: 1
        topologyKey: {{ . }}
        whenUnsatisfiable: ScheduleAnyway
        matchLabelKeys: [pod-template-hash]
        labelSelector:
          matchLabels:
            {{- include "countersign.selector" $.process | nindent 12 }}
      {{- end }}
      {{- with $own.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      affinity:
        {{- merge (deepCopy $own.affinity) (include "countersign.apart" . | fromYaml) | toYaml | nindent 8 }}
{{- end }}

{{- /* {root, process}: the affinity that keeps its replicas on nodes of their own; on the host's network they have to be, for the port. */}}
{{- define "countersign.apart" -}}
{{- $selector := dict "matchLabels" (include "countersign.selector" .process | fromYaml) -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector -}}
podAntiAffinity:
{{- if (index .root.Values .process).hostNetwork }}
  requiredDuringSchedulingIgnoredDuringExecution: {{ list $term | toJson }}
{{- else }}
  preferredDuringSchedulingIgnoredDuringExecution: {{ list (dict "weight" 100 "podAffinityTerm" $term) | toJson }}
{{- end }}
{{- end }}

{{- /* The fewest replicas that a process runs with. */}}
{{- define "countersign.replicas" -}}
{{- dig "autoscaling" "enabled" false . | ternary (dig "autoscaling" "minReplicas" 0 .) .replicas }}
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

{{- /* {values, news}: each of `news` ({path, value}) is set where its key is missing. What is there stays, also where it is empty. */}}
{{- define "countersign.fill" -}}
{{- range $new := .news -}}
{{- $place := $.values -}}
{{- range initial $new.path -}}
{{- $place = get (kindIs "map" $place | ternary $place dict) . -}}
{{- end -}}
{{- if and (kindIs "map" $place) (not (hasKey $place (last $new.path))) -}}
{{- $_ := set $place (last $new.path) $new.value -}}
{{- end -}}
{{- end -}}
{{- end }}
