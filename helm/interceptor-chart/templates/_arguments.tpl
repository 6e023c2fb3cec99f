{{/* The sidecar's command line. Every argument is a JSON string: large numbers stay whole, and nothing in them is YAML. */}}

{{/* One value as text. Helm reads numbers as floats, whose own text would be 6.7108864e+07. `$(` would be expanded by the kubelet. */}}
{{- define "interceptor-chart.text" -}}
{{- if kindIs "string" . -}}
{{- replace "$(" "$$(" . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{- define "interceptor-chart.logUrl" -}}
{{- if eq .Values.log.type "url" -}}
{{- .Values.log.url.value -}}
{{- else -}}
file:///var/lib/interceptor/log
{{- end -}}
{{- end -}}

{{- define "interceptor-chart.arguments" -}}
- run
- {{ printf "--target=http://127.0.0.1:%d" (int .Values.application.port) | quote }}
- --listen=0.0.0.0:8001
{{- if .Values.options.compat }}
# The prototype's controllers know no other port, and no token.
- --admin=same
{{- else }}
- {{ printf "--admin=0.0.0.0:%d" (int .Values.admin.port) | quote }}
- --admin-token-file=/etc/interceptor/admin/token
{{- end }}
{{- if eq .Values.log.type "postgresql" }}
- --log-url-file=/etc/interceptor/log/url
{{- else }}
- {{ printf "--log=%s" (include "interceptor-chart.text" (include "interceptor-chart.logUrl" .)) | quote }}
{{- end }}
{{- with .Values.application.readinessPath }}
- {{ printf "--ready-path=%s" (include "interceptor-chart.text" .) | quote }}
{{- end }}
{{- if eq .Values.interceptor.sidecar "container" }}
- {{ printf "--shutdown-delay-s=%d" (int .Values.shutdown.delaySeconds) | quote }}
{{- end }}
- {{ printf "--drain-timeout-s=%d" (int .Values.shutdown.drainSeconds) | quote }}
{{- if and (ne .Values.log.type "emptyDir") (not (hasKey .Values.options "log-lock-wait-s")) }}
# The Pod that ends has the log for as long, beside its successor, whenever it was not the Deployment that ended it.
- {{ printf "--log-lock-wait-s=%d" (include "interceptor-chart.gracePeriodSeconds" . | int) | quote }}
{{- end }}
{{- range $name, $value := .Values.options }}
{{- if kindIs "bool" $value }}
{{- if $value }}
- {{ printf "--%s" $name | quote }}
{{- end }}
{{- else }}
{{- range (kindIs "slice" $value | ternary $value (list $value)) }}
- {{ printf "--%s=%s" $name (include "interceptor-chart.text" .) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
