"""The validation rules of the pod template: fields that tacho sets itself, and what the API server refuses in
a pod.

The dry run of a revision finds the rest of what the API server refuses (docs/reference/failures.md,
InvalidConfig); tests/api/test_pod_templates.py holds the list.
"""

from __future__ import annotations

from tacho_operator.api.rules.rule import Rule, exactly_one

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PREFIXED = "startsWith('tacho.dev/')"
_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"


def _key(field: str, letters: str = "a-z") -> str:
    """CEL: whether ``field`` is a valid label key. In the prefix of an annotation key, capitals are valid
    too.
    """
    part = f"[{letters}0-9]([-{letters}0-9]*[{letters}0-9])?"
    return f"{field}.matches('^({part}([.]{part})*/)?{_NAME}$')"


_FORM = "a key is a name of at most 63 letters, digits, '-', '_' and '.', after a DNS name and '/' at most"
_INSIDE = "'^/|^[.][.]|(^|/)[.][.](/|$)'"
"""Pattern of paths that the API server refuses as a path inside a volume."""
PRE_STOP_SECONDS = 5
"""Seconds for which a terminating pod still accepts requests, until all nodes have removed it from the
Service.
"""
_TEMPLATE = "spec.podTemplate.spec"
MAX_TOLERATION_SECONDS = 2**31 - 1
"""Longest toleration in seconds. Kubernetes converts it to 64-bit nanoseconds, in which 292 years
overflow.
"""

POD_TEMPLATE_RULES: tuple[Rule, ...] = (
    Rule(
        "labels-free",
        "spec.podTemplate.metadata.labels",
        f"self.all(k, !k.{_PREFIXED} && !k.startsWith('app.kubernetes.io/'))",
        "labels under tacho.dev/ and app.kubernetes.io/ are reserved for tacho; choose another key",
    ),
    Rule(
        "annotations-free",
        "spec.podTemplate.metadata.annotations",
        f"self.all(k, !k.{_PREFIXED})",
        "annotations under tacho.dev/ are reserved for tacho; choose another key",
    ),
    Rule(
        "annotations-deletion-cost",
        "spec.podTemplate.metadata.annotations",
        f"!('{_DELETION_COST}' in self)",
        f"tacho sets {_DELETION_COST} itself, on the pods to delete first; remove it",
    ),
    Rule(
        "volume-one-source",
        "spec.podTemplate.spec.volumes[]",
        exactly_one("configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"),
        "a volume needs exactly one of configMap, secret, emptyDir, persistentVolumeClaim and projected",
    ),
    Rule(
        "volume-name-free",
        "spec.podTemplate.spec.volumes[]",
        "!self.name.startsWith('tacho-')",
        "volume names that begin with tacho- are reserved for tacho; choose another name",
    ),
    Rule(
        "projected-one-source",
        "spec.podTemplate.spec.volumes[].projected.sources[]",
        exactly_one("configMap", "secret", "serviceAccountToken"),
        "a projected source needs exactly one of configMap, secret and serviceAccountToken",
    ),
    Rule(
        "claim-one-source",
        "spec.podTemplate.spec.resourceClaims[]",
        exactly_one("resourceClaimName", "resourceClaimTemplateName"),
        "a resource claim needs exactly one of resourceClaimName and resourceClaimTemplateName",
    ),
    Rule(
        "toleration-value",
        "spec.podTemplate.spec.tolerations[]",
        "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        "a toleration with operator Exists has no value; remove it",
    ),
    Rule(
        "toleration-key",
        "spec.podTemplate.spec.tolerations[]",
        "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        "a toleration without a key needs operator Exists; set one of them",
    ),
    *(
        Rule(
            f"{name}-form",
            path,
            f"self.all(k, {_key('k', letters)})",
            f"a key of {path.removeprefix('spec.')} is invalid: {_FORM}; change it",
        )
        for name, path, letters in (
            ("labels", "spec.podTemplate.metadata.labels", "a-z"),
            ("annotations", "spec.podTemplate.metadata.annotations", "A-Za-z"),
            ("node-selector", f"{_TEMPLATE}.nodeSelector", "a-z"),
        )
    ),
    Rule(
        "toleration-form",
        f"{_TEMPLATE}.tolerations[]",
        f"!has(self.key) || self.key == '' || {_key('self.key')}",
        f"the key of a toleration is invalid: {_FORM}; change it",
    ),
    Rule(
        "toleration-seconds",
        f"{_TEMPLATE}.tolerations[]",
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds goes with effect NoExecute only; set it, or remove tolerationSeconds",
    ),
    Rule(
        "toleration-seconds-bounded",
        f"{_TEMPLATE}.tolerations[]",
        f"!has(self.tolerationSeconds) || self.tolerationSeconds <= {MAX_TOLERATION_SECONDS}",
        f"tolerationSeconds is at most {MAX_TOLERATION_SECONDS}, about 68 years; lower it",
    ),
    Rule(
        "spread-distinct",
        f"{_TEMPLATE}.topologySpreadConstraints",
        "self.all(a, self.exists_one(b, b.topologyKey == a.topologyKey"
        " && b.whenUnsatisfiable == a.whenUnsatisfiable))",
        "two topologySpreadConstraints have the same topologyKey and whenUnsatisfiable; remove one",
    ),
    Rule(
        "spread-domains",
        f"{_TEMPLATE}.topologySpreadConstraints[]",
        "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
        "minDomains goes with whenUnsatisfiable DoNotSchedule only; set it, or remove minDomains",
    ),
    Rule(
        "grace-after-pre-stop",
        _TEMPLATE,
        "!has(self.terminationGracePeriodSeconds)"
        f" || self.terminationGracePeriodSeconds > {PRE_STOP_SECONDS}",
        f"a pod that ends takes requests for {PRE_STOP_SECONDS} s more; set terminationGracePeriodSeconds to"
        f" {PRE_STOP_SECONDS + 1} or more, or remove it",
    ),
    *(
        Rule(
            f"{name}-paths-inside",
            f"{_TEMPLATE}.volumes[].{path}.items[]",
            f"!self.path.matches({_INSIDE})",
            "a path is inside the volume; remove the leading '/' and any '..'",
        )
        for name, path in (
            ("config-map", "configMap"),
            ("secret", "secret"),
            ("projected-config-map", "projected.sources[].configMap"),
            ("projected-secret", "projected.sources[].secret"),
        )
    ),
    Rule(
        "token-path-inside",
        f"{_TEMPLATE}.volumes[].projected.sources[].serviceAccountToken",
        f"!self.path.matches({_INSIDE})",
        "the token's path is inside the volume; remove the leading '/' and any '..'",
    ),
)
