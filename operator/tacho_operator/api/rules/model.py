"""The validation rules between the fields of model, cache, quantization and engine."""

from __future__ import annotations

from tacho_contract.uri import (
    CLAIM_PATTERN,
    FILE_PATTERN,
    FILE_SCHEME,
    HUB_PATTERN,
    HUB_SCHEME,
    PARENT_PATTERN,
)
from tacho_engines.shared.switches import PTXAS, PTXAS_PATTERN
from tacho_operator.api.rules.deny_list import arguments_pattern, hub_variables_pattern, variables_pattern
from tacho_operator.api.rules.engines import custom_rules, engine_rules
from tacho_operator.api.rules.rule import Rule, exactly_one

_RELATIVE = r"!self.{0}.startsWith('/') && !self.{0}.matches('(^|/)[.][.](/|$)')"

_MODEL = (
    Rule(
        "name-format",
        "",
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter, hold only a-z, 0-9 and '-', not end in '-', and have"
        " at most 40 characters, because the names of its children are made from it;"
        " choose another name",
    ),
    Rule(
        "uri-form",
        "spec.model.uri",
        " || ".join(f"self.matches('{form}')" for form in (HUB_PATTERN, CLAIM_PATTERN, FILE_PATTERN)),
        "model.uri must be hf://owner/name or pvc://claim/path;"
        " for https://huggingface.co/owner/name or owner/name write hf://owner/name",
    ),
    Rule(
        "uri-parent",
        "spec.model.uri",
        f"!self.matches('{PARENT_PATTERN}')",
        "model.uri must not contain '..'; write the path without it",
    ),
    Rule(
        "uri-file",
        "spec.model.uri",
        f"!self.startsWith('{FILE_SCHEME}')",
        "file:// works with `tacho run` only; in a cluster use hf://owner/name or pvc://claim/path",
        cluster_only=True,
    ),
    Rule(
        "files-relative",
        "spec.model.files",
        "self.all(f, !f.startsWith('/') && !f.matches('(^|/)[.][.](/|$)'))",
        "files are globs relative to the model, such as '*Q4_K_M.gguf'; remove the leading '/' and any '..'",
    ),
    Rule(
        "revision-of-hub",
        "spec.model",
        f"!has(self.revision) || self.uri.startsWith('{HUB_SCHEME}')",
        "revision is for hf:// models only; remove it",
    ),
    Rule(
        "hub-of-hub",
        "spec.model",
        f"(!has(self.hub) && !has(self.tokenSecretRef)) || self.uri.startsWith('{HUB_SCHEME}')",
        "hub and tokenSecretRef are for hf:// models only; remove them",
    ),
    Rule(
        "verification-of-claim",
        "spec.model",
        f"!has(self.verification) || !self.uri.startsWith('{HUB_SCHEME}')",
        "verification is for pvc:// models only, as every byte of an hf:// model is compared with the hub's"
        " digests; remove it",
    ),
    Rule(
        "cache-exactly-one",
        "spec.cache",
        exactly_one("persistentVolumeClaim"),
        "cache needs a place: set cache.persistentVolumeClaim, or remove cache to keep models in each pod",
    ),
    Rule(
        "cache-sub-path-relative",
        "spec.cache.persistentVolumeClaim",
        f"!has(self.subPath) || ({_RELATIVE.format('subPath')})",
        "subPath is a folder inside the claim; remove the leading '/' and any '..'",
    ),
)

_QUANTIZATION = (
    Rule(
        "bitsandbytes-with-bnb",
        "spec.quantization",
        "!has(self.bitsandbytes) || (has(self.method) && self.method.startsWith('bnb-'))",
        "bitsandbytes goes with the methods bnb-int8, bnb-fp4 and bnb-nf4 only; set such a method or"
        " remove it",
    ),
    Rule(
        "double-quant-with-4-bit",
        "spec.quantization",
        "!has(self.bitsandbytes) || !has(self.bitsandbytes.doubleQuant) || !self.bitsandbytes.doubleQuant"
        " || !has(self.method) || self.method != 'bnb-int8'",
        "doubleQuant goes with bnb-fp4 and bnb-nf4 only; remove it or set such a method",
    ),
    Rule(
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
    Rule(
        "custom-with-name",
        "spec.engine",
        "!has(self.custom) || (has(self.name) && self.name == 'custom')",
        "engine.custom goes with engine.name custom only; set the name or remove custom",
    ),
    Rule(
        "custom-required",
        "spec.engine",
        "!has(self.name) || self.name != 'custom' || has(self.custom)",
        "engine.name custom needs engine.custom with command and port",
    ),
    *custom_rules(),
    Rule(
        "custom-command",
        "spec.engine.custom",
        "has(self.preset) || (has(self.command) && self.command.size() > 0 && has(self.port))",
        "an engine without a preset needs engine.custom.command and engine.custom.port",
    ),
    Rule(
        "custom-port",
        "spec.engine.custom",
        "!has(self.port) || self.port != 9400",
        "port 9400 is tacho's runtime; let the engine listen on another port",
    ),
    Rule(
        "extra-args-refused",
        "spec.engine.extraArgs",
        f"self.all(a, !a.matches('{arguments_pattern()}'))",
        "extraArgs must not load code, open administrative endpoints or repeat a field of spec; remove the"
        " switch, or use the field (model.trustRemoteCode, context.maxModelLen, quantization.method, ...)",
    ),
    Rule(
        "extra-args-variables",
        "spec.engine.extraArgs",
        "self.all(a, !a.contains('$('))",
        "variables are not expanded in extraArgs; write the value",
    ),
    Rule(
        "engine-env-refused",
        "spec.engine.env",
        f"self.all(e, !e.name.matches('{variables_pattern()}') || (e.name.startsWith('{PTXAS}')"
        f" && has(e.value) && e.value.matches('^{PTXAS_PATTERN}$')))",
        "env must not load code, open administrative endpoints or repeat a field of spec; remove the"
        " variable, or use the field (model.tokenSecretRef, gpu.count, engine.extraArgs, ...)",
    ),
    Rule(
        "hub-env-known",
        "spec.model.hub.env",
        f"self.all(e, e.name.matches('{hub_variables_pattern()}'))",
        "hub.env sets proxies, certificates, HF_ENDPOINT, time limits and transfers of the hub's client only;"
        " remove the variable, or use the field (model.tokenSecretRef, hub.endpoint, ...)",
    ),
    Rule(
        "hub-env-endpoint",
        "spec.model.hub.env",
        "self.all(e, e.name != 'HF_ENDPOINT' || has(e.value) && e.value.startsWith('https://'))",
        "HF_ENDPOINT in hub.env must begin with https://; another endpoint is named in hub.endpoint",
    ),
    *(
        Rule(
            f"{name}-env-one-value",
            f"{path}[]",
            "!(has(self.value) && has(self.valueFrom))",
            "a variable has either value or valueFrom; remove one",
        )
        for name, path in (("engine", "spec.engine.env"), ("hub", "spec.model.hub.env"))
    ),
    *(
        Rule(
            f"{name}-env-one-source",
            f"{path}[].valueFrom",
            exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),
            "valueFrom needs exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        )
        for name, path in (("engine", "spec.engine.env"), ("hub", "spec.model.hub.env"))
    ),
    *(
        Rule(
            f"resources-{which}-names",
            f"spec.engine.resources.{which}",
            "self.all(k, k in ['cpu', 'memory', 'ephemeral-storage']"
            " || k.matches('^hugepages-[1-9][0-9]*(Ki|Mi|Gi)$'))",
            f"engine.resources.{which} takes cpu, memory, ephemeral-storage and hugepages-*;"
            " GPUs are requested in spec.gpu",
        )
        for which in ("requests", "limits")
    ),
    Rule(
        "mounts-free",
        "spec.engine.volumeMounts",
        "self.all(m, !m.mountPath.matches('^/(tacho|models|etc/tacho|dev|proc|sys)(/|$)')"
        " && !m.mountPath.matches('^/tmp/*$') && !m.mountPath.matches('//|/[.][.]?(/|$)'))",
        "/tacho, /models, /etc/tacho, /dev, /proc, /sys and /tmp itself are reserved, and '//', '.' and '..'"
        " are refused; choose another mountPath",
    ),
    Rule(
        "mounts-distinct",
        "spec.engine.volumeMounts",
        "self.all(a, self.exists_one(b, b.mountPath == a.mountPath))",
        "two volumeMounts have the same mountPath; remove one",
    ),
    Rule(
        "mounts-sub-path-relative",
        "spec.engine.volumeMounts[]",
        f"!has(self.subPath) || ({_RELATIVE.format('subPath')})",
        "subPath is inside the volume; remove the leading '/' and any '..'",
    ),
    Rule(
        "mounts-declared",
        "spec",
        "!has(self.engine) || !has(self.engine.volumeMounts)"
        " || self.engine.volumeMounts.all(m, has(self.podTemplate) && has(self.podTemplate.spec)"
        " && has(self.podTemplate.spec.volumes)"
        " && self.podTemplate.spec.volumes.exists(v, v.name == m.name))",
        "every engine.volumeMounts[].name must be a volume of podTemplate.spec.volumes; add the volume",
    ),
    Rule(
        "claims-declared",
        "spec",
        "!has(self.engine) || !has(self.engine.resources) || !has(self.engine.resources.claims)"
        " || self.engine.resources.claims.all(c, has(self.podTemplate) && has(self.podTemplate.spec)"
        " && has(self.podTemplate.spec.resourceClaims)"
        " && self.podTemplate.spec.resourceClaims.exists(r, r.name == c.name))",
        "every engine.resources.claims[].name must be an entry of podTemplate.spec.resourceClaims; add it",
    ),
)

MODEL_RULES: tuple[Rule, ...] = (*_MODEL, *_QUANTIZATION, *_ENGINE)
