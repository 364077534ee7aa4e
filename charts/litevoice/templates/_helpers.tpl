{{/* Names, labels and parts that several objects share. */}}

{{- define "litevoice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "litevoice.operator" -}}{{ include "litevoice.fullname" . }}-operator{{- end -}}
{{- define "litevoice.rocketmq" -}}{{ include "litevoice.fullname" . }}-rocketmq{{- end -}}
{{- define "litevoice.rootKey" -}}{{ .Values.rootKey.existingSecret | default (printf "%s-root-key" (include "litevoice.fullname" .)) }}{{- end -}}

{{/* Cluster-wide objects carry the namespace too, so that two releases of one name do not meet. */}}
{{- define "litevoice.clusterName" -}}{{ .Release.Namespace }}-{{ include "litevoice.operator" . }}{{- end -}}

{{- define "litevoice.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "litevoice.labels" -}}
{{ include "litevoice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Takes (list root image): a complete reference. */}}
{{- define "litevoice.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s%s@%s" $image.repository (empty $image.tag | ternary "" (printf ":%s" $image.tag)) $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Takes the list of names. */}}
{{- define "litevoice.pullSecrets" -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}

{{- define "litevoice.endpoints" -}}
{{- .Values.rocketmq.dev.enabled | ternary (printf "%s.%s.svc:8081" (include "litevoice.rocketmq" .) .Release.Namespace) .Values.rocketmq.endpoints -}}
{{- end -}}

{{- define "litevoice.nameServer" -}}
{{- .Values.rocketmq.dev.enabled | ternary (printf "%s.%s.svc:9876" (include "litevoice.rocketmq" .) .Release.Namespace) .Values.rocketmq.nameServer -}}
{{- end -}}

{{/* Takes alerts.channels: as the operator reads them, without the names of Secrets. */}}
{{- define "litevoice.channels" -}}
{{- $channels := list -}}
{{- range . -}}
{{- $webhook := dict -}}
{{- if .webhook -}}
{{- $webhook = dict "webhook" (dict "url" .webhook.url "signed" (not (empty .webhook.hmacSecret))) -}}
{{- end -}}
{{- $channels = append $channels (merge $webhook (omit . "webhook")) -}}
{{- end -}}
{{- toJson $channels -}}
{{- end -}}

{{/* What a schema cannot say: values that exclude one another. */}}
{{- define "litevoice.validate" -}}
{{- if not .Values.watchNamespaces -}}
{{- fail "watchNamespaces: name the namespaces whose VoiceGateways the operator looks after, like --set watchNamespaces={voice}; {*} for all of the cluster" -}}
{{- end -}}
{{- if and (has "*" .Values.watchNamespaces) (gt (len .Values.watchNamespaces) 1) -}}
{{- fail "watchNamespaces: \"*\" stands for all namespaces, so it stands alone" -}}
{{- end -}}
{{- if and .Values.rocketmq.dev.enabled (or .Values.rocketmq.endpoints .Values.rocketmq.nameServer) -}}
{{- fail "rocketmq.endpoints and rocketmq.nameServer must be empty when rocketmq.dev.enabled is true: the release then brings its own RocketMQ" -}}
{{- end -}}
{{- if ne (empty .Values.rocketmq.endpoints) (empty .Values.rocketmq.nameServer) -}}
{{- fail "rocketmq.endpoints and rocketmq.nameServer belong together: give both or none" -}}
{{- end -}}
{{- range $field := list "credentialsSecret" "adminTls" -}}
{{- if and (get $.Values.rocketmq $field) (not $.Values.rocketmq.nameServer) -}}
{{- fail (printf "rocketmq.%s needs rocketmq.nameServer: it is for these name servers and their brokers only" $field) -}}
{{- end -}}
{{- end -}}
{{- range $index, $channel := .Values.alerts.channels -}}
{{- if eq (empty $channel.alertmanager) (empty $channel.webhook) -}}
{{- fail (printf "alerts.channels[%d] (%s): one of alertmanager and webhook is needed" $index $channel.name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.rocketmq.caSecret (not .Values.rocketmq.adminTls) -}}
{{- fail "rocketmq.caSecret needs rocketmq.adminTls: true" -}}
{{- end -}}
{{- end -}}

{{- /* The arguments are the root and the user's and the group's id. */ -}}
{{- define "litevoice.podSecurity" -}}
runAsNonRoot: true
{{- if not (index . 0).Values.openshift }}
runAsUser: {{ index . 1 }}
runAsGroup: {{ index . 1 }}
fsGroup: {{ index . 1 }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "litevoice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
