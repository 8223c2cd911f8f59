{{- define "dspy-swarm.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "dspy-swarm.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "dspy-swarm.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "dspy-swarm.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dspy-swarm.selector" -}}
app.kubernetes.io/name: {{ include "dspy-swarm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dspy-swarm.labels" -}}
{{ include "dspy-swarm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dspy-swarm.limiter" -}}
{{ include "dspy-swarm.fullname" . }}-limiter
{{- end }}

{{- define "dspy-swarm.limiterSelector" -}}
app.kubernetes.io/name: {{ include "dspy-swarm.name" . }}-limiter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dspy-swarm.limiterLabels" -}}
{{- merge (include "dspy-swarm.limiterSelector" . | fromYaml) (include "dspy-swarm.labels" . | fromYaml) | toYaml }}
{{- end }}

{{- define "dspy-swarm.webhook" -}}
{{ include "dspy-swarm.fullname" . }}-webhook
{{- end }}

{{- define "dspy-swarm.webhookSelector" -}}
app.kubernetes.io/name: {{ include "dspy-swarm.name" . }}-webhook
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dspy-swarm.webhookLabels" -}}
{{- merge (include "dspy-swarm.webhookSelector" . | fromYaml) (include "dspy-swarm.labels" . | fromYaml) | toYaml }}
{{- end }}

{{- /* Selects the pods of plans and workers, in any namespace. */}}
{{- define "dspy-swarm.swarmPods" -}}
matchLabels: {app.kubernetes.io/managed-by: dspy-swarm}
matchExpressions:
  - {key: dspy-swarm.dev/role, operator: Exists}
{{- end }}

{{- define "dspy-swarm.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "dspy-swarm.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "dspy-swarm.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- /* What the operator may do in each namespace that it serves. It may not read Secrets. */}}
{{- define "dspy-swarm.rules" -}}
- apiGroups: [dspy-swarm.dev]
  resources: [dspycompilations]
  verbs: [get, list, watch, create, patch]
- apiGroups: [dspy-swarm.dev]
  resources: [dspycompilationtriggers]
  verbs: [get, list, watch]
- apiGroups: [dspy-swarm.dev]
  resources: [dspycompilations/status, dspycompilationtriggers/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end }}
