{{/* Whether a counter has grown within an hour. What a new Pod counts before it is first scraped is no increase of its series. */}}

{{- define "interceptor-chart.grown" -}}
{{- $series := printf "%s{%s}" .counter .these -}}
increase({{ $series }}[1h]) > 0 or ({{ $series }} unless {{ $series }} offset 1h) > 0
{{- end -}}

{{/* The alerts. `$these` is what selects this release's series. */}}

{{- define "interceptor-chart.alerts" -}}
{{- $rule := .Values.prometheusRule -}}
{{- $these := printf "namespace=%q,service=%q" .Release.Namespace (include "interceptor-chart.metricsName" .) -}}
{{- $interval := index .Values.options "checkpoint-interval" -}}
{{- $objective := default (index .Values.options "recovery-time-objective") $rule.recoveryObjectiveSeconds -}}
- alert: InterceptorAbsent
  expr: absent(up{ {{- $these -}} } == 1)
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: No metrics come from the sidecar.
    description: It is down, or Prometheus does not reach its admin port (NetworkPolicy, token).
- alert: InterceptorTargetDown
  expr: interceptor_state{ {{- $these -}} ,state=~"awaiting|projecting"} == 1
  for: {{ $rule.targetDownFor }}
  labels: {severity: critical}
  annotations:
    summary: The application is away, or its state is still being rebuilt; requests are held.
    description: "`interceptor state` in the sidecar says why."
- alert: InterceptorFailed
  expr: interceptor_state{ {{- $these -}} ,state="failed"} == 1
  labels: {severity: critical}
  annotations:
    summary: The log can't be trusted any more; every request is answered 503.
    description: Read `problem` of `interceptor state`, repair the disk, restart the Pod.
- alert: InterceptorDivergence
  expr: {{ include "interceptor-chart.grown" (dict "counter" "interceptor_divergences_total" "these" $these) }}
  labels: {severity: critical}
  annotations:
    summary: A replay was answered otherwise than the first time; the application's state may differ.
    description: The log lines of the sidecar show the first of these requests.
- alert: InterceptorUncertain
  expr: {{ include "interceptor-chart.grown" (dict "counter" "interceptor_uncertain_events_total" "these" $these) }}
  labels: {severity: critical}
  annotations:
    summary: It is unknown whether some requests were applied.
    description: A restart of the application's container makes its state exact.
- alert: InterceptorQuarantine
  expr: {{ include "interceptor-chart.grown" (dict "counter" "interceptor_quarantined_events_total" "these" $these) }}
  labels: {severity: warning}
  annotations:
    summary: A request kills the application again and again, and is left out.
- alert: InterceptorHolding
  expr: interceptor_held_oldest_seconds{ {{- $these -}} } > {{ $rule.heldSeconds }}
  labels: {severity: warning}
  annotations:
    summary: Clients wait for the application.
- alert: InterceptorHoldQueueFilling
  expr: |-
    interceptor_held_requests{ {{- $these -}} } / ignoring(limit) interceptor_limit{ {{- $these -}} ,limit="hold_requests_max"} > {{ $rule.holdQueueRatio }}
    or interceptor_held_bytes{ {{- $these -}} } / ignoring(limit) interceptor_limit{ {{- $these -}} ,limit="hold_bytes_max"} > {{ $rule.holdQueueRatio }}
  labels: {severity: critical}
  annotations:
    summary: The hold queue is nearly full; then requests are answered 503.
- alert: InterceptorHoldsRefused
  expr: increase(interceptor_holds_ended_total{ {{- $these -}} ,reason=~"full|expired"}[5m]) > 0
  labels: {severity: critical}
  annotations:
    summary: Requests were answered 503, because they were held for too long or too many were held.
- alert: InterceptorLogUnavailable
  expr: interceptor_log_available{ {{- $these -}} } == 0
  for: 30s
  labels: {severity: critical}
  annotations:
    summary: The log takes no records; the disk is full or hangs, or the database is away.
- alert: InterceptorDurableLag
  expr: interceptor_durable_lag_seconds{ {{- $these -}} } > {{ $rule.durableLagSeconds }}
  labels: {severity: warning}
  annotations:
    summary: Records wait for the disk or the database, and answers with them.
{{- if $interval }}
- alert: InterceptorCheckpointOld
  expr: |-
    time() - interceptor_checkpoint_timestamp_seconds{ {{- $these -}} } > {{ mulf $interval $rule.checkpointIntervals }}
    and on(namespace, pod) interceptor_version{ {{- $these -}} ,stage="last"} > on(namespace, pod) interceptor_version{ {{- $these -}} ,stage="checkpoint"}
  for: 1m
  labels: {severity: warning}
  annotations:
    summary: The last checkpoint is older than {{ $rule.checkpointIntervals }} of its intervals.
{{- end }}
{{- if $objective }}
- alert: InterceptorRecoveryObjectiveMissed
  expr: interceptor_recovery_estimate_seconds{ {{- $these -}} } > {{ $objective }}
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: If the application died now, its recovery would take longer than {{ $objective }} s.
{{- end }}
{{- end -}}
