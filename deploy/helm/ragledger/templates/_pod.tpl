{{- /*
The pod of a command of ragledger.

root           the chart's context
args           the command
job            a job of the values; its settings and settingsFrom override the chart's
account        the name of the service account
container      more members of the container, as YAML
*/}}
{{- define "ragledger.podSpec" -}}
{{- $root := .root }}
{{- $job := .job | default dict }}
{{- $settings := mustMergeOverwrite (deepCopy $root.Values.settings) ($job.settings | default dict) }}
{{- $from := mustMergeOverwrite (deepCopy $root.Values.settingsFrom) ($job.settingsFrom | default dict) }}
{{- $known := $root.Files.Get "files/settings.yaml" | fromYaml }}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: ragledger
    image: {{ include "ragledger.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      {{- include "ragledger.environment" (dict "settings" $settings "from" $from "known" $known) | trim | nindent 6 }}
      {{- with $root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .container }}
    {{- . | nindent 4 }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    {{- with $root.Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      {{- if $from }}
      - name: settings
        mountPath: /etc/ragledger
        readOnly: true
      {{- end }}
      - name: tmp
        mountPath: /tmp
      {{- with $root.Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- if $from }}
  - name: settings
    projected:
      defaultMode: 0440
      sources:
        {{- include "ragledger.files" (dict "from" $from "known" $known) | trim | nindent 8 }}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with $root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* The variables of a container: plain values, and the paths of files. */}}
{{- define "ragledger.environment" -}}
{{- if .from }}
- name: RAGLEDGER_SECRETS_DIR
  value: /etc/ragledger
{{- end }}
{{- range $group, $members := .settings }}
{{- range $name, $value := $members }}
{{- if dig $group $name "" $.from }}
{{- fail (printf "%s.%s is in settings and in settingsFrom: leave it in one of them" $group $name) }}
{{- end }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ include "ragledger.variable" (list $group $name) }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- range $group, $members := .from }}
{{- range $name, $reference := $members }}
{{- if has (printf "%s.%s" $group $name) $.known.paths }}
- name: {{ include "ragledger.variable" (list $group $name) }}
  value: /etc/ragledger/{{ $group }}.{{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The sources of the volume: a file for each setting, named like its variable unless the setting is a path. */}}
{{- define "ragledger.files" -}}
{{- range $group, $members := .from }}
{{- range $name, $reference := $members }}
{{- $isPath := has (printf "%s.%s" $group $name) $.known.paths }}
- {{ hasKey $reference "secret" | ternary "secret" "configMap" }}:
    name: {{ $reference.secret | default $reference.configMap }}
    items:
      - key: {{ $reference.key }}
        path: {{ $isPath | ternary (printf "%s.%s" $group $name) (include "ragledger.variable" (list $group $name)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ragledger.variable" -}}
RAGLEDGER_{{ index . 0 | upper }}__{{ index . 1 | upper }}
{{- end }}
