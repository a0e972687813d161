"""The rules between fields that are permanent truths; what is not built yet stands in `unreleased.py`."""

from __future__ import annotations

from tacho_contract.launch import ProbeSettings
from tacho_contract.uri import (
    CLAIM_PATTERN,
    FILE_PATTERN,
    FILE_SCHEME,
    HUB_PATTERN,
    HUB_SCHEME,
    PARENT_PATTERN,
)
from tacho_operator.api.rules.autoscaling import autoscaling_rules
from tacho_operator.api.rules.custom import custom_rules
from tacho_operator.api.rules.deny_list import arguments_pattern, variables_pattern
from tacho_operator.api.rules.engines import engine_rules
from tacho_operator.api.rules.rule import Rule

_RELATIVE = r"!self.{0}.startsWith('/') && !self.{0}.matches('(^|/)[.][.](/|$)')"
_PROBE = ProbeSettings()
_PREFIXED = "startsWith('tacho.dev/')"


def _exactly_one(*fields: str) -> str:
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields) + " == 1"


def _rule(
    name: str,
    path: str,
    cel: str,
    message: str,
    *,
    cluster_only: bool = False,
    offline_only: bool = False,
) -> Rule:
    return Rule(
        name=name,
        path=path,
        cel=cel,
        message=message,
        cluster_only=cluster_only,
        offline_only=offline_only,
    )


_MODEL = (
    _rule(
        "name-format",
        "",
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter, hold only a-z, 0-9 and '-', not end in '-', and have"
        " at most 40 characters, because the names of its children are made from it;"
        " choose another name",
    ),
    _rule(
        "uri-form",
        "spec.model.uri",
        " || ".join(f"self.matches('{form}')" for form in (HUB_PATTERN, CLAIM_PATTERN, FILE_PATTERN)),
        "model.uri must be hf://owner/name or pvc://claim/path",
    ),
    _rule(
        "uri-parent",
        "spec.model.uri",
        f"!self.matches('{PARENT_PATTERN}')",
        "model.uri must not contain '..'; write the path without it",
    ),
    _rule(
        "uri-file",
        "spec.model.uri",
        f"!self.startsWith('{FILE_SCHEME}')",
        "file:// works with `tacho run` only; in a cluster use hf://owner/name or pvc://claim/path",
        cluster_only=True,
    ),
    _rule(
        "files-relative",
        "spec.model.files",
        "self.all(f, !f.startsWith('/') && !f.matches('(^|/)[.][.](/|$)'))",
        "files are globs relative to the model, such as '*Q4_K_M.gguf'; remove the leading '/' and any '..'",
    ),
    _rule(
        "revision-of-hub",
        "spec.model",
        f"!has(self.revision) || self.uri.startsWith('{HUB_SCHEME}')",
        "revision is for hf:// models only; remove it",
    ),
    _rule(
        "hub-of-hub",
        "spec.model",
        f"(!has(self.hub) && !has(self.tokenSecretRef)) || self.uri.startsWith('{HUB_SCHEME}')",
        "hub and tokenSecretRef are for hf:// models only; remove them",
    ),
    _rule(
        "verification-of-claim",
        "spec.model",
        f"!has(self.verification) || !self.uri.startsWith('{HUB_SCHEME}')",
        "verification is for pvc:// models only, as every byte of an hf:// model is compared with the hub's"
        " digests; remove it",
    ),
    _rule(
        "cache-exactly-one",
        "spec.cache",
        _exactly_one("persistentVolumeClaim"),
        "cache needs a place: set cache.persistentVolumeClaim, or remove cache to keep models in each pod",
    ),
    _rule(
        "cache-sub-path-relative",
        "spec.cache.persistentVolumeClaim",
        f"!has(self.subPath) || ({_RELATIVE.format('subPath')})",
        "subPath is a folder inside the claim; remove the leading '/' and any '..'",
    ),
)

_QUANTIZATION = (
    _rule(
        "bitsandbytes-with-bnb",
        "spec.quantization",
        "!has(self.bitsandbytes) || (has(self.method) && self.method.startsWith('bnb-'))",
        "bitsandbytes goes with the methods bnb-int8, bnb-fp4 and bnb-nf4 only; set such a method or"
        " remove it",
    ),
    _rule(
        "double-quant-with-4-bit",
        "spec.quantization",
        "!has(self.bitsandbytes) || !has(self.bitsandbytes.doubleQuant) || !self.bitsandbytes.doubleQuant"
        " || !has(self.method) || self.method != 'bnb-int8'",
        "doubleQuant goes with bnb-fp4 and bnb-nf4 only; remove it or set such a method",
    ),
    _rule(
        "compute-dtype-with-4-bit",
        "spec.quantization",
        "!has(self.bitsandbytes) || !has(self.bitsandbytes.computeDtype)"
        " || !has(self.method) || self.method != 'bnb-int8'",
        "computeDtype goes with bnb-fp4 and bnb-nf4 only, as bnb-int8 multiplies 8-bit integers; remove it"
        " or set such a method",
    ),
    *engine_rules(),
)

_ENGINE = (
    _rule(
        "custom-with-name",
        "spec.engine",
        "!has(self.custom) || (has(self.name) && self.name == 'custom')",
        "engine.custom goes with engine.name custom only; set the name or remove custom",
    ),
    _rule(
        "custom-required",
        "spec.engine",
        "!has(self.name) || self.name != 'custom' || has(self.custom)",
        "engine.name custom needs engine.custom with command and port",
    ),
    *custom_rules(),
    _rule(
        "custom-command",
        "spec.engine.custom",
        "has(self.preset) || (has(self.command) && self.command.size() > 0 && has(self.port))",
        "an engine without a preset needs engine.custom.command and engine.custom.port",
    ),
    _rule(
        "custom-port",
        "spec.engine.custom",
        "!has(self.port) || self.port != 9400",
        "port 9400 is tacho's runtime; let the engine listen on another port",
    ),
    _rule(
        "extra-args-refused",
        "spec.engine.extraArgs",
        f"self.all(a, !a.matches('{arguments_pattern()}'))",
        "extraArgs must not load code, open administration or repeat what has a field of its own; remove the"
        " switch, or use the field (model.trustRemoteCode, context.maxModelLen, quantization.method, ...)",
    ),
    _rule(
        "extra-args-variables",
        "spec.engine.extraArgs",
        "self.all(a, !a.contains('$('))",
        "variables are not expanded in extraArgs; write the value",
    ),
    *(
        _rule(
            f"{name}-env-refused",
            path,
            f"self.all(e, !e.name.matches('{variables_pattern()}'))",
            "env must not load code, open administration or repeat what has a field of its own; remove the"
            " variable, or use the field (model.tokenSecretRef, gpu.count, engine.extraArgs, ...)",
        )
        for name, path in (("engine", "spec.engine.env"), ("hub", "spec.model.hub.env"))
    ),
    *(
        _rule(
            f"{name}-env-one-value",
            f"{path}[]",
            "!(has(self.value) && has(self.valueFrom))",
            "a variable has either value or valueFrom; remove one",
        )
        for name, path in (("engine", "spec.engine.env"), ("hub", "spec.model.hub.env"))
    ),
    *(
        _rule(
            f"{name}-env-one-source",
            f"{path}[].valueFrom",
            _exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),
            "valueFrom needs exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        )
        for name, path in (("engine", "spec.engine.env"), ("hub", "spec.model.hub.env"))
    ),
    *(
        _rule(
            f"resources-{which}-names",
            f"spec.engine.resources.{which}",
            "self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-'))",
            f"engine.resources.{which} takes cpu, memory, ephemeral-storage and hugepages-*;"
            " GPUs are asked for in spec.gpu",
        )
        for which in ("requests", "limits")
    ),
    _rule(
        "mounts-free",
        "spec.engine.volumeMounts",
        "self.all(m, !m.mountPath.matches('^/(tacho|models|etc/tacho|dev|proc|sys)(/|$)')"
        " && !m.mountPath.matches('/[.][.](/|$)'))",
        "/tacho, /models, /etc/tacho, /dev, /proc and /sys are taken, and '..' is refused; choose another"
        " mountPath",
    ),
    _rule(
        "mounts-declared",
        "spec",
        "!has(self.engine) || !has(self.engine.volumeMounts)"
        " || self.engine.volumeMounts.all(m, has(self.podTemplate) && has(self.podTemplate.spec)"
        " && has(self.podTemplate.spec.volumes)"
        " && self.podTemplate.spec.volumes.exists(v, v.name == m.name))",
        "every engine.volumeMounts[].name must be a volume of podTemplate.spec.volumes; add the volume",
    ),
    _rule(
        "claims-declared",
        "spec",
        "!has(self.engine) || !has(self.engine.resources) || !has(self.engine.resources.claims)"
        " || self.engine.resources.claims.all(c, has(self.podTemplate) && has(self.podTemplate.spec)"
        " && has(self.podTemplate.spec.resourceClaims)"
        " && self.podTemplate.spec.resourceClaims.exists(r, r.name == c.name))",
        "every engine.resources.claims[].name must be an entry of podTemplate.spec.resourceClaims; add it",
    ),
)

_GPU = (
    _rule(
        "products-need-gpus",
        "spec.gpu",
        "!has(self.count) || self.count > 0 || !has(self.products) || self.products.size() == 0",
        "gpu.count 0 runs on the CPU; remove gpu.products or set a count",
    ),
    _rule(
        "products-distinct",
        "spec.gpu",
        "!has(self.products) || self.products.all(p, self.products.exists_one(q, q == p))",
        "gpu.products names a product twice; remove one",
    ),
    _rule(
        "parallelism-product",
        "spec",
        "!has(self.parallelism) || !has(self.gpu) || !has(self.gpu.count)"
        " || (!has(self.parallelism.tensor) && !has(self.parallelism.pipeline))"
        " || (has(self.parallelism.tensor)"
        " ? self.parallelism.tensor * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
        " == (self.gpu.count > 1 ? self.gpu.count : 1)"
        " : (self.gpu.count > 1 ? self.gpu.count : 1) % self.parallelism.pipeline == 0)",
        "parallelism.tensor times pipeline must be gpu.count (1 on the CPU); change one of them",
    ),
)

_SERVICE = (
    _rule(
        "workload-in-context",
        "spec",
        "!has(self.workload) || !has(self.context) || !has(self.context.maxModelLen)"
        " || (has(self.workload.inputTokens) ? self.workload.inputTokens : 0)"
        " + (has(self.workload.outputTokens) ? self.workload.outputTokens : 0) <= self.context.maxModelLen",
        "workload.inputTokens and outputTokens together exceed context.maxModelLen; shorten the workload or"
        " raise maxModelLen",
    ),
    _rule(
        "slo-promises",
        "spec.slo",
        "has(self.ttftMilliseconds) || has(self.tpotMilliseconds)",
        "slo promises nothing; set ttftMilliseconds or tpotMilliseconds, or remove slo",
    ),
    _rule(
        "cost-price",
        "spec.cost",
        "!self.pricePerGPUHour.matches('^0+([.]0+)?$')",
        "cost.pricePerGPUHour is 0; give the price of one GPU for one hour, or remove cost",
    ),
    _rule(
        "probe-times",
        "spec.probe",
        f"(has(self.budgetSeconds) ? self.budgetSeconds : {_PROBE.budget_seconds})"
        f" <= (has(self.timeoutSeconds) ? self.timeoutSeconds : {_PROBE.timeout_seconds})",
        f"probe.budgetSeconds (absent: {_PROBE.budget_seconds}) exceeds timeoutSeconds "
        f"(absent: {_PROBE.timeout_seconds}); lower it or raise the timeout",
    ),
    _rule(
        "recreate-with-downtime",
        "spec.rollout",
        "!has(self.strategy) || self.strategy != 'Recreate' || (has(self.allowDowntime)"
        " && self.allowDowntime)",
        "strategy Recreate stops the service for a while; set rollout.allowDowntime to true if that is meant",
    ),
)

_POD_TEMPLATE = (
    _rule(
        "labels-free",
        "spec.podTemplate.metadata.labels",
        f"self.all(k, !k.{_PREFIXED} && !k.startsWith('app.kubernetes.io/'))",
        "labels under tacho.dev/ and app.kubernetes.io/ are tacho's own; choose another key",
    ),
    _rule(
        "annotations-free",
        "spec.podTemplate.metadata.annotations",
        f"self.all(k, !k.{_PREFIXED})",
        "annotations under tacho.dev/ are tacho's own; choose another key",
    ),
    _rule(
        "volume-one-source",
        "spec.podTemplate.spec.volumes[]",
        _exactly_one("configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"),
        "a volume needs exactly one of configMap, secret, emptyDir, persistentVolumeClaim and projected",
    ),
    _rule(
        "volume-name-free",
        "spec.podTemplate.spec.volumes[]",
        "!self.name.startsWith('tacho-')",
        "volume names that begin with tacho- are tacho's own; choose another name",
    ),
    _rule(
        "projected-one-source",
        "spec.podTemplate.spec.volumes[].projected.sources[]",
        _exactly_one("configMap", "secret", "serviceAccountToken"),
        "a projected source needs exactly one of configMap, secret and serviceAccountToken",
    ),
    _rule(
        "claim-one-source",
        "spec.podTemplate.spec.resourceClaims[]",
        _exactly_one("resourceClaimName", "resourceClaimTemplateName"),
        "a resource claim needs exactly one of resourceClaimName and resourceClaimTemplateName",
    ),
    _rule(
        "toleration-value",
        "spec.podTemplate.spec.tolerations[]",
        "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        "a toleration with operator Exists has no value; remove it",
    ),
    _rule(
        "toleration-key",
        "spec.podTemplate.spec.tolerations[]",
        "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        "a toleration without a key needs operator Exists; set one of them",
    ),
)

PERMANENT: tuple[Rule, ...] = (
    *_MODEL,
    *_QUANTIZATION,
    *_ENGINE,
    *_GPU,
    *_SERVICE,
    *autoscaling_rules(),
    *_POD_TEMPLATE,
)
