{{/* The name of everything that serves the API. Cut so that `-embedder` fits behind it. */}}
{{- define "facebento.fullname" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}
{{- $name = printf "%s-%s" $name .Chart.Name }}
{{- end }}
{{- $name | trunc 54 | trimSuffix "-" }}
{{- end }}

{{/* Takes (dict "root" $ "component" "api"). What never changes of a component's pods, to select them by. */}}
{{- define "facebento.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes the same. Of a component's pods: without the chart's version, which is no reason to replace them. */}}
{{- define "facebento.podLabels" -}}
{{ include "facebento.selector" . }}
{{- /* Without the digest that may follow the tag: a label has no room for it. */}}
app.kubernetes.io/version: {{ .root.Values.image.tag | splitList "@" | first | quote }}
{{- end }}

{{/* Takes the same. Of a component's objects. */}}
{{- define "facebento.labels" -}}
{{ include "facebento.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The components that are Deployments of their own, separated by spaces. */}}
{{- define "facebento.components" -}}
{{ if .Values.split.enabled }}api detector embedder{{ else }}api{{ end }}
{{- end }}

{{/* Takes (dict "root" $ "component" "api"). The name of the component's objects. */}}
{{- define "facebento.component" -}}
{{ include "facebento.fullname" .root }}{{ if ne .component "api" }}-{{ .component }}{{ end }}
{{- end }}

{{- define "facebento.secretName" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" (include "facebento.fullname" .)) }}
{{- end }}

{{/* A number as a person writes it. Helm reads numbers as floats, and would print 10485760 as 1.048576e+07. */}}
{{- define "facebento.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/*
Seconds from the deletion of a pod to SIGKILL. Requests that came in at the last moment end by their deadline; BentoML's
own is 5 seconds later; the processes need some seconds more to leave.
*/}}
{{- define "facebento.gracePeriod" -}}
{{ add .Values.preStopSeconds (ceil .Values.settings.FACEBENTO_DEADLINE_S | int) 15 }}
{{- end }}

{{/* What the schema can't tell. Every message says what to set. */}}
{{- define "facebento.check" -}}
{{- $values := .Values }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "facebento.fullname" .)) }}
{{- fail (printf "the release is called %s: its name must begin with a letter and have only small letters, digits and dashes, since Services are named after it" .Release.Name) }}
{{- end }}
{{- $example := "--set image.repository=registry.example.com/facebento --set image.tag=0.1.0-0123456789ab" }}
{{- if not .Values.image.repository }}
{{- fail (printf "image.repository is not set: name the image that you pushed to your registry, as in %s" $example) }}
{{- end }}
{{- $tag := .Values.image.tag | splitList "@" | first }}
{{- if or (not $tag) (eq $tag "latest") }}
{{- fail (printf "image.tag is %s: name one build, VERSION-COMMIT, as in %s" (ternary "latest" "not set" (eq $tag "latest")) $example) }}
{{- end }}
{{- if and .Values.gpu.enabled (hasSuffix "-cpu" $tag) }}
{{- fail (printf "gpu.enabled is set, and image.tag %s is the variant without CUDA: take the tag without -cpu" $tag) }}
{{- end }}
{{- with .Values.keys }}
{{- if and .existingSecret .values }}
{{- fail "keys.existingSecret and keys.values are both set: set one of them" }}
{{- end }}
{{- if not (or .existingSecret .values) }}
{{- fail (printf "no keys: set keys.existingSecret to the name of a Secret with an entry %s, one key a line, or keys.values to a list of keys. Without a key nobody could be let in" .secretKey) }}
{{- end }}
{{- end }}
{{- $resources := dict "resources" .Values.resources }}
{{- if .Values.split.enabled }}
{{- $_ := set $resources "split.detector.resources" .Values.split.detector.resources }}
{{- $_ := set $resources "split.embedder.resources" .Values.split.embedder.resources }}
{{- if not .Values.networkPolicy.enabled }}
{{- fail "split.enabled takes networkPolicy.enabled: the runners ask for no key" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (ne .Values.autoscaling.metric "cpu") }}
{{- fail "split.enabled takes autoscaling.metric cpu: requests in flight at the API also wait for the runners, and more pods of the API would not help these" }}
{{- end }}
{{- end }}
{{- if not (and .Values.settings.FACEBENTO_THREADS .Values.settings.FACEBENTO_DECODE_THREADS) }}
{{- range $path, $each := $resources }}
{{- if not (dig "limits" "cpu" "" $each) }}
{{- fail (printf "%s.limits.cpu is not set: set it, or both settings FACEBENTO_THREADS and FACEBENTO_DECODE_THREADS. The service would work on as many images at a time as the node has cores" $path) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if .enabled }}
{{- if lt (int .maxReplicas) (int .minReplicas) }}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" }}
{{- end }}
{{- if and (eq .metric "requestsInFlight") (ge (int .requestsInFlight) (int $values.settings.FACEBENTO_MAX_IN_FLIGHT)) }}
{{- fail "autoscaling.requestsInFlight must be less than settings.FACEBENTO_MAX_IN_FLIGHT: a pod never has more in flight, so that nothing would ever scale" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
