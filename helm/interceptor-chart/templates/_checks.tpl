{{/* What the schema can't say: values that are right by themselves and wrong together. Each refusal is one sentence. */}}

{{- define "interceptor-chart.checkApplication" -}}
{{- $distributed := and (eq .Values.log.type "url") .Values.log.url.distributed -}}
{{- if and (gt (int .Values.replicas) 1) (not $distributed) -}}
{{- fail (printf "replicas: %d Pods would each have a log and a state of their own (log.type %s has one writer); use 1, or a distributed log" (int .Values.replicas) .Values.log.type) -}}
{{- end -}}
{{- if and (eq .Values.log.type "postgresql") (not .Values.log.postgresql.existingSecret) -}}
{{- fail "log.postgresql.existingSecret: name the Secret that has the database's URL" -}}
{{- end -}}
{{- if and (eq .Values.log.type "url") (not .Values.log.url.value) -}}
{{- fail "log.url.value: log.type is url, so say which" -}}
{{- end -}}
{{- if and (eq .Values.interceptor.sidecar "native") (semverCompare "<1.29-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "interceptor.sidecar: Kubernetes %s knows no native sidecars and would wait forever for the init container to end; set it to container" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (index .Values.options "checkpoint-on-stop") (eq .Values.interceptor.sidecar "native") -}}
{{- fail "options.checkpoint-on-stop: a native sidecar ends after the application, which then has no state to keep; set interceptor.sidecar to container" -}}
{{- end -}}
{{- if eq (int .Values.application.port) (int .Values.admin.port) -}}
{{- fail (printf "admin.port: the application listens on %d already" (int .Values.admin.port)) -}}
{{- end -}}
{{- if or (eq (int .Values.application.port) 8001) (eq (int .Values.admin.port) 8001) -}}
{{- fail "application.port, admin.port: 8001 is where the sidecar listens for clients" -}}
{{- end -}}
{{- end -}}
