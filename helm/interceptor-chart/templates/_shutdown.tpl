{{/*
The sequence of a shutdown, and the grace period that it takes.

Native sidecar: the application sleeps for the delay before its SIGTERM, while endpoints are withdrawn and requests still pass; it ends; only
then the kubelet stops the sidecar, which has nothing left to wait for but what the application left unanswered.
Ordinary container: both are told at once. The sidecar serves on for the delay, drains and ends; so long the application sleeps.
*/}}

{{/* Seconds that a sidecar takes from its SIGTERM to its end, at most: a checkpoint on stop, flushing and closing included. */}}
{{- define "interceptor-chart.sidecarStopSeconds" -}}
{{- $seconds := add .Values.shutdown.drainSeconds 5 -}}
{{- if index .Values.options "checkpoint-on-stop" -}}
{{- $seconds = add $seconds (mul 2 (ceil (default 10 (index .Values.options "checkpoint-timeout-s")))) -}}
{{- end -}}
{{- if eq .Values.interceptor.sidecar "container" -}}
{{- $seconds = add $seconds .Values.shutdown.delaySeconds -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* Seconds that the application's preStop hook sleeps. */}}
{{- define "interceptor-chart.preStopSeconds" -}}
{{- if eq .Values.interceptor.sidecar "container" -}}
{{- include "interceptor-chart.sidecarStopSeconds" . -}}
{{- else -}}
{{- int .Values.shutdown.delaySeconds -}}
{{- end -}}
{{- end -}}

{{/* The sum, or what was asked for, if that is enough. */}}
{{- define "interceptor-chart.gracePeriodSeconds" -}}
{{- $sum := add (include "interceptor-chart.preStopSeconds" .) .Values.shutdown.applicationStopSeconds -}}
{{- if eq .Values.interceptor.sidecar "native" -}}
{{- $sum = add $sum (include "interceptor-chart.sidecarStopSeconds" .) -}}
{{- end -}}
{{- $asked := .Values.shutdown.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $asked -}}
{{- $sum -}}
{{- else if lt (int $asked) (int $sum) -}}
{{- fail (printf "shutdown.terminationGracePeriodSeconds: %d is less than the %d s that delay, drain and stop add up to; raise it or leave it out" (int $asked) (int $sum)) -}}
{{- else -}}
{{- int $asked -}}
{{- end -}}
{{- end -}}
