{{/* The Pod's template, for each kind of workload. */}}

{{- define "interceptor-chart.podTemplate" -}}
metadata:
  labels:
    {{- include "interceptor-chart.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/part-of: interceptor
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: application
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "interceptor-chart.serviceAccountName" . }}
  # Neither of the two talks to the API server.
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "interceptor-chart.gracePeriodSeconds" . }}
  {{- if .Values.shareProcessNamespace }}
  shareProcessNamespace: true
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- if eq .Values.interceptor.sidecar "native" }}
  initContainers:
    {{- include "interceptor-chart.sidecar" . | nindent 4 }}
  containers:
    {{- include "interceptor-chart.application" . | nindent 4 }}
  {{- else }}
  containers:
    {{- include "interceptor-chart.sidecar" . | nindent 4 }}
    {{- include "interceptor-chart.application" . | nindent 4 }}
  {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "interceptor-chart.volumes" . | nindent 4 }}
  {{- include "interceptor-chart.scheduling" . | nindent 2 }}
{{- end -}}

{{- define "interceptor-chart.volumes" -}}
- name: log
  {{- if eq .Values.log.type "persistentVolumeClaim" }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-log" (include "interceptor-chart.fullname" .)) .Values.log.persistentVolumeClaim.existingClaim }}
  {{- else }}
  emptyDir:
    {{- with .Values.log.emptyDir.medium }}
    medium: {{ . }}
    {{- end }}
    {{- with .Values.log.emptyDir.sizeLimit }}
    sizeLimit: {{ . }}
    {{- end }}
    {{- if not (or .Values.log.emptyDir.medium .Values.log.emptyDir.sizeLimit) }} {}
    {{- end }}
  {{- end }}
{{- if eq .Values.log.type "postgresql" }}
- name: log-url
  secret:
    secretName: {{ .Values.log.postgresql.existingSecret }}
    defaultMode: 0440
    optional: false
    items:
      - key: {{ .Values.log.postgresql.key }}
        path: url
{{- end }}
{{- if not .Values.options.compat }}
- name: admin-token
  secret:
    secretName: {{ include "interceptor-chart.tokenSecretName" . }}
    defaultMode: 0440
    optional: false
    items:
      - key: {{ .Values.admin.key }}
        path: token
{{- end }}
# Twice what answers may take there, since at this size the kubelet evicts the Pod.
- name: spool
  emptyDir:
    {{- with index .Values.options "answers-spool-bytes-max" }}
    sizeLimit: {{ div (mul 2 .) 1048576 | max 1 }}Mi
    {{- else }} {}
    {{- end }}
- name: application-tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "interceptor-chart.scheduling" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
