{{/* Names and labels, for both modes. */}}

{{- define "interceptor-chart.name" -}}
{{- default "interceptor" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that suffixes still fit into a label. */}}
{{- define "interceptor-chart.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "interceptor-chart.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "interceptor-chart.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes over upgrades. */}}
{{- define "interceptor-chart.selectorLabels" -}}
app.kubernetes.io/name: {{ include "interceptor-chart.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}

{{- define "interceptor-chart.labels" -}}
{{ include "interceptor-chart.selectorLabels" . }}
app.kubernetes.io/part-of: interceptor
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "interceptor-chart.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "interceptor-chart.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "interceptor-chart.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "interceptor-chart.tokenSecretName" -}}
{{- default (printf "%s-admin" (include "interceptor-chart.fullname" .)) .Values.admin.existingSecret -}}
{{- end -}}

{{/* Where control is: with `options.compat` on the clients' port. */}}
{{- define "interceptor-chart.adminPortName" -}}
{{- default false .Values.options.compat | ternary "http" "admin" -}}
{{- end -}}

{{- define "interceptor-chart.adminScheme" -}}
{{- hasKey .Values.options (default false .Values.options.compat | ternary "tls-cert" "admin-tls-cert") | ternary "https" "http" -}}
{{- end -}}

{{- define "interceptor-chart.keySecretName" -}}
{{- default (printf "%s-key" (include "interceptor-chart.fullname" .)) .Values.controller.existingSecret -}}
{{- end -}}

{{/* Metrics of both modes have a Service of their own. */}}
{{- define "interceptor-chart.metricsName" -}}
{{- printf "%s-metrics" (include "interceptor-chart.fullname" .) -}}
{{- end -}}

{{/*
A Secret with one random value, which stays over upgrades.  Takes the root, the Secret's name, and the value's key.
Without a cluster (`helm template`) it is another one each time: name a Secret of your own there.
*/}}
{{- define "interceptor-chart.randomSecret" -}}
{{- $value := randAlphaNum 40 | b64enc -}}
{{- with lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- $value = default $value (index (default dict .data) $.key) -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "interceptor-chart.labels" .root | nindent 4 }}
type: Opaque
data:
  {{ .key }}: {{ $value }}
{{- end -}}
