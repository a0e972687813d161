{{/*
Refuses to serve a namespace that the operator of another release serves: each would undo the other's writes.
Such an operator has a role that writes the status of LLMDeployments. Helm finds none where it only renders.
ClusterRoles are listed only for who makes objects of the cluster, and thus may list them.
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
{{- $operator := and (eq (get $labels "app.kubernetes.io/part-of") "tacho") (eq (get $labels "app.kubernetes.io/component") "operator") }}
{{- if and $operator (not $own) (ne $role.metadata.name (include "tacho.fullname" $)) }}
{{- range $role.rules }}
{{- if has "llmdeployments/status" .resources }}
{{- $where := default "all namespaces" $role.metadata.namespace }}
{{- fail (printf "the release %s already serves %s (%s %s): set watchNamespaces so that no namespace has two operators" (get $labels "app.kubernetes.io/instance") $where $role.kind $role.metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
