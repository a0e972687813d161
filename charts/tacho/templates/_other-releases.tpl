{{/*
Refuses to serve a namespace that the operator of another release serves: each would undo the other's writes.
Such an operator has a role that writes the status of LLMDeployments. Helm finds none where it only renders.
ClusterRoles are listed only where the chart makes some. Whoever may not list roles sets checkOtherReleases=false.
*/}}
{{- define "tacho.checkOtherReleases" -}}
{{- $roles := list }}
{{- if or (not .Values.watchNamespaces) .Values.rbac.aggregate .Values.admissionPolicy.create }}
{{- $roles = default (list) (lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items }}
{{- end }}
{{- range default (list "") .Values.watchNamespaces }}
{{- $roles = concat $roles (default (list) (lookup "rbac.authorization.k8s.io/v1" "Role" . "").items) }}
{{- end }}
{{- range $role := $roles }}
{{- $labels := default (dict) $role.metadata.labels }}
{{- $notes := default (dict) $role.metadata.annotations }}
{{- $own := and (eq (get $notes "meta.helm.sh/release-name") $.Release.Name) (eq (get $notes "meta.helm.sh/release-namespace") $.Release.Namespace) }}
{{- $kind := ternary "Role" "ClusterRole" (not (empty $.Values.watchNamespaces)) }}
{{- $rendered := and (eq $role.metadata.name (include "tacho.fullname" $)) (eq $role.kind $kind) }}
{{- if and (eq (get $labels "app.kubernetes.io/component") "operator") (not (or $own $rendered)) }}
{{- range $role.rules }}
{{- if has "llmdeployments/status" .resources }}
{{- $where := default "all namespaces" $role.metadata.namespace }}
{{- fail (printf "the release %s already serves %s (%s %s): set watchNamespaces so that no namespace has two operators" (get $labels "app.kubernetes.io/instance") $where $role.kind $role.metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
