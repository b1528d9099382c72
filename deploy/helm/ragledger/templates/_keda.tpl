{{- /*
How KEDA logs in to Kafka, as YAML:
metadata      for each trigger: the parameters that are not secret
parameters    for the TriggerAuthentication: the places of the other parameters
*/}}
{{- define "ragledger.kedaKafka" -}}
{{- $kafka := (include "ragledger.settings" . | fromYaml).kafka }}
{{- $from := .Values.settingsFrom.kafka | default dict }}
{{- range list "bootstrap_servers" "group_id" "security_protocol" "sasl_mechanism" "start_from" }}
{{- if hasKey $from . }}
{{- fail (printf "settingsFrom.kafka.%s: KEDA has to know it too; move it to settings.kafka.%s" . .) }}
{{- end }}
{{- end }}
metadata:
  {{- if hasPrefix "SASL_" $kafka.security_protocol }}
  sasl: {{ get (dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512") $kafka.sasl_mechanism }}
  {{- end }}
  {{- if hasSuffix "SSL" $kafka.security_protocol }}
  tls: enable
  {{- end }}
parameters:
  {{- $parameters := dict "ssl_cafile" "ca" "ssl_certfile" "cert" "ssl_keyfile" "key" }}
  {{- if hasPrefix "SASL_" $kafka.security_protocol }}
  {{- $_ := set $parameters "sasl_username" "username" }}
  {{- $_ := set $parameters "sasl_password" "password" }}
  {{- if not (hasKey $from "sasl_username") }}
  env:
    - parameter: username
      name: RAGLEDGER_KAFKA__SASL_USERNAME
      containerName: ragledger
  {{- end }}
  {{- end }}
  {{- range $sort, $target := dict "secret" "secretTargetRef" "configMap" "configMapTargetRef" }}
  {{- $found := list }}
  {{- range $name, $parameter := $parameters }}
  {{- with get $from $name }}
  {{- if hasKey . $sort }}
  {{- $found = append $found (dict "parameter" $parameter "name" (get . $sort) "key" .key) }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- with $found }}
  {{ $target }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
