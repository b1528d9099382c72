{{- define "ragledger.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 50 characters, so that the names of CronJobs can be longer. */}}
{{- define "ragledger.fullname" -}}
{{- $name := include "ragledger.name" . }}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $both | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "ragledger.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ragledger.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ragledger.labels" -}}
{{ include "ragledger.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Without the version: a new chart alone must not cause a rebalance. */}}
{{- define "ragledger.podLabels" -}}
{{ include "ragledger.selectorLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ragledger.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "ragledger.fullname" .) "default") }}
{{- end }}

{{- define "ragledger.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The effective settings as YAML: the settings of the values override the defaults of the service. */}}
{{- define "ragledger.settings" -}}
{{- $known := .Files.Get "files/settings.yaml" | fromYaml }}
{{- toYaml (mustMergeOverwrite $known.defaults (deepCopy .Values.settings)) }}
{{- end }}

{{- define "ragledger.port" -}}
{{- $settings := include "ragledger.settings" . | fromYaml }}
{{- if not $settings.http.port }}
{{- fail "settings.http.port=0: a port that nobody knows can be neither probed nor scraped; choose one" }}
{{- end }}
{{- $settings.http.port }}
{{- end }}

{{- define "ragledger.gracePeriod" -}}
{{- $settings := include "ragledger.settings" . | fromYaml }}
{{- $needed := add (ceil $settings.shutdown.timeout_s) 15 }}
{{- $given := .Values.terminationGracePeriodSeconds | default $needed }}
{{- if lt (int64 $given) (sub $needed 4) }}
{{- fail (printf "terminationGracePeriodSeconds=%v: a replica may take settings.shutdown.timeout_s and 10 s to stop; allow %d s at least" $given (sub $needed 4)) }}
{{- end }}
{{- int64 $given }}
{{- end }}
