{{- /* Lists of sentences, as YAML; empty where nothing is wrong. */}}

{{- /* Values that cannot go together. */}}
{{- define "countersign.faults.values" -}}
{{- $faults := list -}}
{{- $environment := .Values.default -}}
{{- if and .Values.apiServerClient.ca (not .Values.apiServerClient.commonNames) -}}
{{- $faults = append $faults "apiServerClient.ca needs apiServerClient.commonNames: an authority signs for others than the API server, too. Name the common names of its client certificate." -}}
{{- end -}}
{{- if and .Values.apiServerClient.commonNames (not .Values.apiServerClient.ca) -}}
{{- $faults = append $faults "apiServerClient.commonNames does nothing without apiServerClient.ca: give the authority of the API server's client certificate (PEM), or leave the names out." -}}
{{- end -}}
{{- $narrowed := list -}}
{{- range $name := list "from" "metricsFrom" "apiServer" -}}
{{- if index $.Values.networkPolicy $name -}}{{- $narrowed = append $narrowed (printf "networkPolicy.%s" $name) -}}{{- end -}}
{{- end -}}
{{- if and $narrowed (not .Values.networkPolicy.enabled) -}}
{{- $faults = append $faults (printf "%s: no NetworkPolicy is made with networkPolicy.enabled=false. Turn it on, or leave the rest out." (join ", " $narrowed)) -}}
{{- end -}}
{{- if .Values.outOfCluster.url -}}
{{- if $narrowed -}}
{{- $faults = append $faults (printf "%s: there is nothing to narrow with outOfCluster.url, which runs both processes elsewhere. Leave one of them out." (join ", " $narrowed)) -}}
{{- end -}}
{{- if .Values.authorizer.clusterIP -}}
{{- $faults = append $faults "authorizer.clusterIP: there is no Service with outOfCluster.url, and the authorizer's files name that URL. Leave one of them out." -}}
{{- end -}}
{{- range $name, $chosen := dict "webhook.autoscaling.enabled" .Values.webhook.autoscaling.enabled "webhook.hostNetwork" .Values.webhook.hostNetwork -}}
{{- if $chosen -}}
{{- $faults = append $faults (printf "%s is about pods, and there are none with outOfCluster.url, which runs both processes elsewhere. Leave one of them out." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.webhook.hostNetwork (eq (int .Values.webhook.port) 10250) -}}
{{- $faults = append $faults "webhook.port: 10250 is the kubelet's on every node. With webhook.hostNetwork take another, such as 10260." -}}
{{- end -}}
{{- with .Values.webhook.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $faults = append $faults (printf "webhook.autoscaling: minReplicas (%d) is more than maxReplicas (%d). Raise one or lower the other." (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.staticManifest.enabled .Values.authorizer.enabled (eq .Values.staticManifest.folder .Values.authorizer.folder) -}}
{{- $faults = append $faults (printf "staticManifest.folder and authorizer.folder are both %s: the API server reads everything in the first as policies. Give each a folder of its own." .Values.authorizer.folder) -}}
{{- end -}}
{{- $certificates := .Values.certificates -}}
{{- $provided := $certificates.provided.secretName -}}
{{- if and (ne $certificates.source "provided") $provided -}}
{{- $faults = append $faults (printf "certificates.provided.secretName is for certificates.source=provided, and the source is %s: leave one of them out." $certificates.source) -}}
{{- end -}}
{{- if and (ne $certificates.source "cert-manager") $certificates.certManager.issuerRef.name -}}
{{- $faults = append $faults (printf "certificates.certManager.issuerRef is for certificates.source=cert-manager, and the source is %s: leave one of them out." $certificates.source) -}}
{{- end -}}
{{- if and (eq $certificates.source "operator") $certificates.caBundle -}}
{{- $faults = append $faults "certificates.caBundle is for certificates that are brought: the operator knows its own authority. Leave it out, or say who brings them in certificates.source." -}}
{{- end -}}
{{- if and (eq $certificates.source "provided") (not $provided) -}}
{{- $faults = append $faults "certificates.source=provided needs the Secret with the webhook's certificate: --set certificates.provided.secretName=NAME (docs/certificates.md says what has to be in it)." -}}
{{- end -}}
{{- if has $provided (list "countersign-webhook-tls" "countersign-webhook-ca") -}}
{{- $faults = append $faults (printf "certificates.provided.secretName: the Secret %s is the operator's own. Bring your certificate in a Secret of another name." $provided) -}}
{{- end -}}
{{- range $exception := $environment.except -}}
{{- if and (eq $exception.kind "ServiceAccount") (not $exception.namespace) -}}
{{- $faults = append $faults (printf "default.except: the ServiceAccount %s needs its namespace." $exception.name) -}}
{{- end -}}
{{- if and (ne $exception.kind "ServiceAccount") $exception.namespace -}}
{{- $faults = append $faults (printf "default.except: the %s %s has no namespace; leave it out." $exception.kind $exception.name) -}}
{{- end -}}
{{- end -}}
{{- range $requirement := $environment.selector.matchExpressions -}}
{{- $wants := has $requirement.operator (list "In" "NotIn") -}}
{{- if and $wants (not $requirement.values) -}}
{{- $faults = append $faults (printf "default.selector: %s of the label %s needs values." $requirement.operator $requirement.key) -}}
{{- end -}}
{{- if and (not $wants) $requirement.values -}}
{{- $faults = append $faults (printf "default.selector: %s of the label %s takes no values; leave them out." $requirement.operator $requirement.key) -}}
{{- end -}}
{{- end -}}
{{- range $kind := $environment.resources -}}
{{- if and (eq $kind.group "") (eq $kind.resource "pods") (eq $environment.protectFrom "Everyone") -}}
{{- $faults = append $faults "default.resources lists pods while default.protectFrom is Everyone: the kubelets delete pods themselves, and none could ever end. Leave pods out, or protect from People." -}}
{{- end -}}
{{- if and (eq $kind.group "") (eq $kind.resource "secrets") (ne $environment.protectFrom "Agents") (not (has $.Release.Namespace $environment.exclude)) -}}
{{- $faults = append $faults (printf "default.resources lists secrets while default.protectFrom is %s: Helm deletes old releases of its own, which are Secrets in %s, so upgrades and repairs would wait for signatures. Add %s to default.exclude (agents change nothing there in any case)." $environment.protectFrom $.Release.Namespace $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{- /* What this cluster has that Countersign cannot be installed beside. */}}
{{- define "countersign.faults.cluster" -}}
{{- $faults := list -}}
{{- $asked := lookup "v1" "Namespace" "" "kube-system" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if semverCompare "<1.33.0-0" $version -}}
{{- $faults = append $faults (printf "Kubernetes %s is too old: Countersign needs 1.33 or newer, whose admission policies it is made of. %s" $version (empty $asked | ternary "If your cluster is newer, say so with --kube-version: helm template does not ask it." "Upgrade the cluster first.")) -}}
{{- end -}}
{{- if and $asked .Values.staticManifest.enabled (semverCompare "<1.36.0-0" $version) -}}
{{- $faults = append $faults (printf "staticManifest.enabled: Kubernetes %s reads no policies from files, which 1.36 does behind a feature gate and 1.37 by itself. Leave it out (docs/static-manifest.md)." $version) -}}
{{- end -}}
{{- if and $asked (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- range $name := list "podMonitor" "prometheusRule" -}}
{{- if (index $.Values $name).enabled -}}
{{- $faults = append $faults (printf "%s.enabled needs the Prometheus operator, whose kinds (monitoring.coreos.com/v1) this cluster does not have. Install it first, or leave the value out." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $asked (eq .Values.certificates.source "cert-manager") (not (.Capabilities.APIVersions.Has "cert-manager.io/v1/Certificate")) -}}
{{- $faults = append $faults "certificates.source=cert-manager: there is no cert-manager in this cluster. Install it first (https://cert-manager.io/docs/installation/), or leave certificates.source out." -}}
{{- end -}}
{{- $role := lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "countersign-operator" -}}
{{- if $role -}}
{{- $by := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $role -}}
{{- $in := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $role -}}
{{- if and $by (or (ne $by .Release.Name) (ne $in .Release.Namespace)) -}}
{{- $faults = append $faults (printf "This cluster has a Countersign: the release %s in the namespace %s. A cluster takes one. Upgrade that (helm upgrade %s -n %s), or take it away first (helm uninstall %s -n %s)." $by $in $by $in $by $in) -}}
{{- end -}}
{{- $binding := lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "countersign-operator" -}}
{{- $at := "" -}}
{{- range dig "subjects" list $binding -}}{{- $at = .namespace -}}{{- end -}}
{{- if and (not $by) $at (ne $at .Release.Namespace) -}}
{{- $faults = append $faults (printf "This cluster has a Countersign in the namespace %s, which Helm did not install. A cluster takes one. Take it away first, with kubectl delete -f and what it was applied from." $at) -}}
{{- end -}}
{{- end -}}
{{- if .Capabilities.APIVersions.Has "kube-countersign.dev/v1alpha1/AgentIdentity" -}}
{{- $agents := list -}}
{{- range $identity := (lookup "kube-countersign.dev/v1alpha1" "AgentIdentity" "" "").items -}}
{{- range $subject := $identity.spec.subjects -}}
{{- $account := and (eq $subject.kind "ServiceAccount") (eq $subject.namespace $.Release.Namespace) (has $subject.name (list "*" "countersign-webhook" "countersign-operator")) -}}
{{- $group := and (eq $subject.kind "Group") (eq $subject.name (printf "system:serviceaccounts:%s" $.Release.Namespace)) -}}
{{- if or $account $group -}}{{- $agents = append $agents $identity.metadata.name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with $agents -}}
{{- $faults = append $faults (printf "The accounts of the namespace %s are agents (AgentIdentity %s): Countersign's own would be held back by its guards. Install it into a namespace of its own: --namespace countersign --create-namespace." $.Release.Namespace (uniq . | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}
