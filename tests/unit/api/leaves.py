"""A wrong value for each leaf of spec: one past a bound, or of another form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tacho_operator.api.crd.schema import Schema, resource_schema
from tests.unit.api.samples import sample

NO_SWITCH, NO_NAME, NO_KEY, NO_CHOICE = "yes", "Upper_Case", "a/b", "Another"
LONG_NAME = "n" * 318
"""One more than a name with a domain may have."""


def _below(prefix: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{path}": value for part in parts for path, value in part.items()}


REFERENCE = {"name": NO_NAME, "key": NO_KEY}
VARIABLE = {
    "name": "1ST",
    "value": "v" * 4097,
    **_below("valueFrom.secretKeyRef", REFERENCE, {"optional": NO_SWITCH}),
    **_below("valueFrom.configMapKeyRef", REFERENCE, {"optional": NO_SWITCH}),
    "valueFrom.fieldRef.fieldPath": "",
}
EXPRESSION = {"key": "", "operator": "Near", "values": ["v" * 64]}
SELECTOR = {"matchLabels": {"team": "-"}, **_below("matchExpressions[]", EXPRESSION)}
NODE_TERM = {**_below("matchExpressions[]", EXPRESSION), **_below("matchFields[]", EXPRESSION)}
POD_TERM = {
    "topologyKey": LONG_NAME,
    **_below("labelSelector", SELECTOR),
    "namespaces": [""],
    **_below("namespaceSelector", SELECTOR),
    "matchLabelKeys": [""],
    "mismatchLabelKeys": [LONG_NAME],
}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
POD_AFFINITY = {
    **_below(f"{REQUIRED}[]", POD_TERM),
    **_below(f"{PREFERRED}[]", {"weight": 101}, _below("podAffinityTerm", POD_TERM)),
}
FILES = {"items[].key": NO_KEY, "items[].path": "", "items[].mode": 0o1000, "optional": NO_SWITCH}
SCALING = {
    "stabilizationWindowSeconds": 3601,
    "selectPolicy": NO_CHOICE,
    "policies[].type": NO_CHOICE,
    "policies[].value": 1001,
    "policies[].periodSeconds": 1801,
    "tolerance": "0.1234",
}

MODEL = {
    "uri": "hf://",
    "revision": "-main",
    "servedName": "a b",
    "files": [""],
    "hub.endpoint": "hub.example",
    **_below("hub.caBundleConfigMapRef", REFERENCE),
    **_below("hub.env[]", VARIABLE),
    **_below("tokenSecretRef", REFERENCE),
    "verification": NO_CHOICE,
    "trustRemoteCode": NO_SWITCH,
}
ENGINE = {
    "name": NO_CHOICE,
    "image": "an image",
    "extraArgs": ["a" * 1025],
    **_below("env[]", VARIABLE),
    "resources.requests": {"cpu": "half"},
    "resources.limits": {"memory": "2 GB"},
    "resources.claims[].name": NO_NAME,
    "resources.claims[].request": NO_NAME,
    "volumeMounts[].name": NO_NAME,
    "volumeMounts[].mountPath": "etc",
    "volumeMounts[].subPath": "",
    "volumeMounts[].readOnly": NO_SWITCH,
    "custom.preset": NO_CHOICE,
    "custom.command": ["c" * 1025],
    "custom.port": 65536,
    "custom.healthPath": "health",
    "custom.python": "",
}
SERVICE = {
    "cache.persistentVolumeClaim.claimName": NO_NAME,
    "cache.persistentVolumeClaim.subPath": "",
    "cache.persistentVolumeClaim.readOnly": NO_SWITCH,
    "quantization.method": NO_CHOICE,
    "quantization.bitsandbytes.doubleQuant": NO_SWITCH,
    "quantization.bitsandbytes.computeDtype": NO_CHOICE,
    "quantization.kvCacheDtype": NO_CHOICE,
    "gpu.products": [""],
    "gpu.count": 65,
    "gpu.resourceName": "nvidia.com/",
    "gpu.scheduleTimeoutSeconds": 9,
    "parallelism.tensor": 0,
    "parallelism.pipeline": 65,
    "context.maxModelLen": 15,
    "context.concurrency": 0,
    "workload.inputTokens": 0,
    "workload.outputTokens": 1,
    "slo.ttftMilliseconds": 0,
    "slo.tpotMilliseconds": 3_600_001,
    "slo.percentile": 49,
    "replicas": -1,
    "autoscaling.mode": "Observe",
    "autoscaling.minReplicas": 1001,
    "autoscaling.maxReplicas": 0,
    "autoscaling.burstMemorySeconds": 2701,
    **_below("autoscaling.behavior.scaleUp", SCALING),
    **_below("autoscaling.behavior.scaleDown", SCALING),
    "autoscaling.schedules[].schedule": "0 8 * *   ",
    "autoscaling.schedules[].timeZone": "Central Europe",
    "autoscaling.schedules[].durationSeconds": 59,
    "autoscaling.schedules[].minReplicas": -1,
    "autoscaling.schedules[].maxReplicas": 1001,
    "probe.policy": NO_CHOICE,
    "probe.budgetSeconds": 4,
    "probe.timeoutSeconds": 7201,
    "rollout.scheduleTimeoutSeconds": 9,
    "rollout.maxSurge": "25",
    "rollout.gate.onRegression": NO_CHOICE,
    "rollout.gate.tolerancePercent.throughput": 100,
    "rollout.gate.tolerancePercent.ttft": 1001,
    "rollout.gate.tolerancePercent.tpot": 1001,
    "rollout.gate.tolerancePercent.perplexity": -1,
    "cost.pricePerGPUHour": "1,20",
    "cost.currency": "eur",
    "endpoint.allowedNamespaces": [NO_NAME],
    "startupTimeoutSeconds": 9,
}
POD = {
    "nodeSelector": {"pool": "-"},
    "tolerations[].key": LONG_NAME,
    "tolerations[].operator": NO_CHOICE,
    "tolerations[].value": "v" * 64,
    "tolerations[].effect": NO_CHOICE,
    "tolerations[].tolerationSeconds": -1,
    **_below(f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[]", NODE_TERM),
    **_below(f"affinity.nodeAffinity.{PREFERRED}[]", {"weight": 0}, _below("preference", NODE_TERM)),
    **_below("affinity.podAffinity", POD_AFFINITY),
    **_below("affinity.podAntiAffinity", POD_AFFINITY),
    "topologySpreadConstraints[].maxSkew": 0,
    "topologySpreadConstraints[].topologyKey": "",
    "topologySpreadConstraints[].whenUnsatisfiable": NO_CHOICE,
    **_below("topologySpreadConstraints[].labelSelector", SELECTOR),
    "topologySpreadConstraints[].minDomains": 0,
    "topologySpreadConstraints[].nodeAffinityPolicy": NO_CHOICE,
    "topologySpreadConstraints[].nodeTaintsPolicy": NO_CHOICE,
    "topologySpreadConstraints[].matchLabelKeys": [""],
    "imagePullSecrets[].name": NO_NAME,
    "serviceAccountName": NO_NAME,
    "priorityClassName": NO_NAME,
    "schedulerName": NO_NAME,
    "runtimeClassName": NO_NAME,
    "terminationGracePeriodSeconds": 86401,
    "resourceClaims[].name": NO_NAME,
    "resourceClaims[].resourceClaimName": NO_NAME,
    "resourceClaims[].resourceClaimTemplateName": NO_NAME,
    "volumes[].name": NO_NAME,
    **_below("volumes[].configMap", FILES, {"name": NO_NAME, "defaultMode": 512}),
    **_below("volumes[].secret", FILES, {"secretName": NO_NAME, "defaultMode": -1}),
    "volumes[].emptyDir.medium": NO_CHOICE,
    "volumes[].emptyDir.sizeLimit": "much",
    "volumes[].persistentVolumeClaim.claimName": NO_NAME,
    "volumes[].persistentVolumeClaim.readOnly": NO_SWITCH,
    **_below("volumes[].projected.sources[].configMap", FILES, {"name": NO_NAME}),
    **_below("volumes[].projected.sources[].secret", FILES, {"name": NO_NAME}),
    "volumes[].projected.sources[].serviceAccountToken.path": "",
    "volumes[].projected.sources[].serviceAccountToken.audience": "a" * 257,
    "volumes[].projected.sources[].serviceAccountToken.expirationSeconds": 599,
    "volumes[].projected.defaultMode": 512,
}
WRONG: dict[str, Any] = {
    **_below("model", MODEL),
    **_below("engine", ENGINE),
    **SERVICE,
    "podTemplate.metadata.labels": {"team": "-"},
    "podTemplate.metadata.annotations": {"a": "v" * 4097},
    **_below("podTemplate.spec", POD),
}
"""Path of the leaf below spec ([] is an item of a list) to the value."""


SPEC: Schema = resource_schema(())["properties"]["spec"]


def leaf_paths(schema: Schema = SPEC, path: str = "") -> Iterator[str]:
    """Paths of all leaves of spec: ``model.uri``, ``engine.env[].name``.

    A leaf is a scalar, a map with free keys or a list of scalars; lists of objects are entered.
    """
    if schema.get("type") == "array" and schema["items"]["type"] == "object":
        yield from leaf_paths(schema["items"], f"{path}[]")
    elif "properties" in schema:
        for name, child in schema["properties"].items():
            yield from leaf_paths(child, f"{path}.{name}" if path else name)
    else:
        yield path


LEAVES = tuple(sorted(leaf_paths()))


def wrong_at(path: str) -> dict[str, Any]:
    """A resource that is wrong at the leaf ``path``; otherwise only required fields are set."""
    spec = _with(SPEC, path, WRONG[path])
    return {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "wrong"},
        "spec": spec,
    }


def shown(path: str) -> str:
    """The leaf ``path`` as a problem names it in ``wrong_at(path)``."""
    return f"spec.{path}".replace("[]", "[0]")


def _with(schema: Schema, path: str, value: Any) -> Any:
    if schema.get("type") == "array":
        return [_with(schema["items"], path, value)]
    name, _, rest = path.partition(".")
    name = name.removesuffix("[]")
    child = _with(schema["properties"][name], rest, value) if rest else value
    return {**_required(schema), name: child}


def _required(schema: Schema) -> Any:
    if schema.get("type") == "object" and "properties" in schema:
        return {name: _required(schema["properties"][name]) for name in schema.get("required", ())}
    return sample(schema)
