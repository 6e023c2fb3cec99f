{{/* The two containers of the Pod. */}}

{{- define "interceptor-chart.sidecar" -}}
- name: interceptor
  image: {{ include "interceptor-chart.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if eq .Values.interceptor.sidecar "native" }}
  # Without a startupProbe: with one, Kubernetes 1.35 does not restart an application that crashed beside it.
  restartPolicy: Always
  {{- end }}
  args:
    {{- include "interceptor-chart.arguments" . | nindent 4 }}
  {{- with .Values.interceptor.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: http
      containerPort: 8001
      protocol: TCP
    {{- if not .Values.options.compat }}
    - name: admin
      containerPort: {{ int .Values.admin.port }}
      protocol: TCP
    {{- end }}
  # The Pod is ready while requests can be held, so it stays in its Services while the application is away.
  readinessProbe:
    httpGet:
      path: /readyz
      port: {{ include "interceptor-chart.adminPortName" . }}
      scheme: {{ include "interceptor-chart.adminScheme" . | upper }}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 3
  {{- with .Values.interceptor.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.interceptor.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.interceptor.securityContext | nindent 4 }}
  volumeMounts:
    {{- if not .Values.options.compat }}
    - name: admin-token
      mountPath: /etc/interceptor/admin
      readOnly: true
    {{- end }}
    {{- if eq .Values.log.type "postgresql" }}
    - name: log-url
      mountPath: /etc/interceptor/log
      readOnly: true
    {{- end }}
    # Without a database it has the log; with one the checkpoints.
    - name: log
      mountPath: /var/lib/interceptor
    # Answers that wait for slow clients.
    - name: spool
      mountPath: /tmp
    {{- with .Values.interceptor.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "interceptor-chart.application" -}}
- name: application
  {{- if .Values.application.image }}
  image: {{ .Values.application.image | quote }}
  imagePullPolicy: {{ .Values.application.imagePullPolicy }}
  {{- with .Values.application.command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.application.args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else }}
  image: {{ include "interceptor-chart.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, -m, bench.counter]
  args: {{ list "--port" (.Values.application.port | int | toString) | toJson }}
  {{- end }}
  {{- with .Values.application.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.application.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: application
      containerPort: {{ int .Values.application.port }}
      protocol: TCP
  {{- with .Values.application.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.application.startupProbe }}
  startupProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $sleep := include "interceptor-chart.preStopSeconds" . | int }}
  {{- if gt $sleep 0 }}
  lifecycle:
    preStop:
      {{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
      sleep:
        seconds: {{ $sleep }}
      {{- else }}
      # The sleep action is newer than this Kubernetes. An image without `sleep` gets its SIGTERM at once; ours has Python.
      exec:
        command: {{ empty .Values.application.image | ternary (list "python" "-c" (printf "import time; time.sleep(%d)" $sleep)) (list "sleep" (toString $sleep)) | toJson }}
      {{- end }}
  {{- end }}
  {{- with .Values.application.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.application.securityContext | nindent 4 }}
  volumeMounts:
    - name: application-tmp
      mountPath: /tmp
    {{- with .Values.application.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
