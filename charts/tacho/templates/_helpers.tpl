{{- define "tacho.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tacho.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "tacho.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tacho.selector" -}}
app.kubernetes.io/name: {{ include "tacho.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "tacho.ownLabels" -}}
{{ include "tacho.selector" . }}
app.kubernetes.io/part-of: tacho
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of a list of the chart and more labels. A later label replaces one of the same name: what reads YAML strictly refuses a name twice. */}}
{{- define "tacho.labelsWith" -}}
{{- $chart := first . -}}
{{- $own := fromYaml (include "tacho.ownLabels" $chart) -}}
{{ mergeOverwrite $own (default dict $chart.Values.commonLabels) (default dict (last .)) | toYaml }}
{{- end -}}

{{- define "tacho.labels" -}}
{{ include "tacho.labelsWith" (list . dict) }}
{{- end -}}

{{- define "tacho.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tacho.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tacho.image" -}}
{{- $repository := required "image.repository is not set: build the images with `make images`, push them to a registry your cluster can pull from, and name the repository" .Values.image.repository -}}
{{- with .Values.image.registry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{ $repository }}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{/* The operator's settings. extraEnv may not name one: a list with the same name twice cannot be applied. */}}
{{- define "tacho.environment" -}}
- {name: TACHO_IMAGE, value: {{ include "tacho.image" . | quote }}}
- {name: TACHO_IMAGE_PULL_POLICY, value: {{ .Values.image.pullPolicy | quote }}}
{{- range $engine, $image := .Values.engineImages }}
{{- if $image }}
- {name: TACHO_ENGINE_IMAGE_{{ $engine | upper }}, value: {{ $image | quote }}}
{{- end }}
{{- end }}
- {name: TACHO_WATCH_NAMESPACES, value: {{ join "," .Values.watchNamespaces | quote }}}
- {name: TACHO_OPERATOR_NAMESPACE, value: {{ .Release.Namespace | quote }}}
- {name: TACHO_LEASE_NAME, value: {{ include "tacho.fullname" . | quote }}}
- {name: TACHO_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: TACHO_POD_ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: TACHO_MONITORING_NAMESPACE, value: {{ .Values.monitoringNamespace | quote }}}
- {name: TACHO_ALLOW_INSECURE_HUB, value: {{ .Values.hub.allowInsecure | quote }}}
- {name: TACHO_HUB_ENDPOINT, value: {{ .Values.hub.endpoint | quote }}}
- {name: TACHO_GPU_TOLERATIONS, value: {{ .Values.gpuTolerations | toJson | quote }}}
- {name: TACHO_GPU_PRICES, value: {{ .Values.prices | toJson | quote }}}
- {name: TACHO_CURRENCY, value: {{ .Values.currency | quote }}}
- {name: TACHO_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
- {name: TACHO_LOG_FORMAT, value: {{ .Values.logFormat | quote }}}
- {name: TACHO_WORKERS, value: {{ .Values.workers | quote }}}
- {name: TACHO_RESYNC_SECONDS, value: {{ .Values.resyncSeconds | quote }}}
- {name: TACHO_SCALING_PERIOD_SECONDS, value: {{ .Values.scalingPeriodSeconds | quote }}}
- {name: TACHO_MAX_PROBE_PODS, value: {{ .Values.maxProbePods | quote }}}
{{- end -}}

{{- define "tacho.checkValues" -}}
{{- $own := dict }}
{{- range fromYamlArray (include "tacho.environment" .) }}{{- $_ := set $own .name true }}{{- end }}
{{- range .Values.extraEnv }}
{{- if hasKey $own .name }}{{- fail (printf "extraEnv names %s, which the chart sets: use its value" .name) }}{{- end }}
{{- end }}
{{- $name := include "tacho.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "objects would have the name %s, which a Service cannot have: set fullnameOverride" $name) }}
{{- end }}
{{- if and (hasPrefix "http://" .Values.hub.endpoint) (not .Values.hub.allowInsecure) }}
{{- fail "hub.endpoint is not encrypted: use https://, or set hub.allowInsecure" }}
{{- end }}
{{- if .Values.checkOtherReleases }}{{- include "tacho.checkOtherReleases" . }}{{- end }}
{{- end -}}
