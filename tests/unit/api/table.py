"""The accept/reject table: one list of resources, judged offline and by a real API server.

A row without `refused` and `malformed` is accepted. Where the structure is so wrong that rules cannot be
judged, only the structural problem counts. A row behind a gate names it: once the gate is lifted,
the same row says the resource is accepted.
"""

from __future__ import annotations

from typing import Any

from tests.unit.api.rows import ABSENT, CUSTOM, HUB, LLAMACPP, PRESET, VLLM, VLLM_GATES, Row


def _accepted(name: str, base: dict[str, Any] = LLAMACPP, **change: Any) -> Row:
    return Row(name=name, base=base, change={path.replace("__", "."): v for path, v in change.items()})


def _refused(name: str, *rules: str, base: dict[str, Any] = LLAMACPP, **change: Any) -> Row:
    changes = {path.replace("__", "."): value for path, value in change.items()}
    return Row(name=name, base=base, change=changes, refused=rules)


def _malformed(name: str, path: str, *rules: str, base: dict[str, Any] = LLAMACPP, **change: Any) -> Row:
    changes = {p.replace("__", "."): value for p, value in change.items()}
    return Row(name=name, base=base, change=changes, malformed=path, refused=rules)


def _env(**variable: Any) -> list[dict[str, Any]]:
    return [{"name": "X", **variable}]


def _proxy(**variable: Any) -> list[dict[str, Any]]:
    return [{"name": "https_proxy", **variable}]


def _volume(**volume: Any) -> dict[str, Any]:
    return {"podTemplate__spec__volumes": [{"name": "v", **volume}]}


SECRET_VALUE = {"secretKeyRef": {"name": "s", "key": "k"}}

MODEL = (
    _accepted("llama.cpp on a claim"),
    _accepted("from the hub", HUB),
    _accepted("a model of one word", HUB, model__uri="hf://gpt2"),
    _accepted("revision, files and token", HUB, model__revision="main", model__files=["a*.gguf"],
              model__tokenSecretRef={"name": "hf"}),
    _accepted("mirror with certificates and proxy", HUB, model__hub={
        "endpoint": "https://hub.example", "caBundleConfigMapRef": {"name": "ca"},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}]}),
    _accepted("the root of a claim", model__uri="pvc://models"),
    _accepted("a served name", model__servedName="org/smol:v1"),
    _accepted("code of a trusted model", VLLM, model__trustRemoteCode=True),
    _accepted("no trust in an engine that runs no code", HUB, model__trustRemoteCode=False),
    _refused("trust in an engine that runs no code", "trust-remote-code-of-engine", base=HUB,
             model__trustRemoteCode=True),
    _accepted("null is absent", model__files=None, cache=None),
    Row(name="file:// in a cluster", change={"model.uri": "file:///models/x"}, refused=("uri-file",),
        offline_too=False),
    _refused("an unknown scheme", "uri-form", model__uri="s3://bucket/model"),
    _refused("three segments", "uri-form", base=HUB, model__uri="hf://a/b/c"),
    _refused("an empty repository", "uri-form", base=HUB, model__uri="hf:///x"),
    _refused("a way out of the claim", "uri-parent", model__uri="pvc://models/../other"),
    _refused("a line break after the address", "uri-form", base=HUB, model__uri="hf://a/b\n"),
    _refused("an absolute glob", "files-relative", model__files=["/etc/passwd"]),
    _refused("a glob out of the model", "files-relative", model__files=["../*.gguf"]),
    _refused("a revision of a claim", "revision-of-hub", model__revision="main"),
    _accepted("every byte of a claim", model__verification="Full"),
    _refused("every byte of a hub's model", "verification-of-claim", base=HUB, model__verification="Full"),
    _malformed("a way of comparing that there is not", "spec.model.verification", model__verification="All"),
    _refused("a token for a claim", "hub-of-hub", model__tokenSecretRef={"name": "hf"}),
    _refused("the token as a variable", "hub-env-known", base=HUB,
             model__hub={"env": [{"name": "HF_TOKEN", "value": "hf_x"}]}),
    _refused("a hub variable that is not known", "hub-env-known", base=HUB,
             model__hub={"env": [{"name": "HF_HUB_DOWNLOAD_TIMEOUT", "value": "1"}, *_env(value="1")]}),
    _refused("code for the hub's client", "hub-env-known", base=HUB,
             model__hub={"env": [{"name": "OPENSSL_CONF", "value": "/x"}]}),
    _accepted("an encrypted mirror as a variable", HUB,
              model__hub={"env": [{"name": "HF_ENDPOINT", "value": "https://hub.example"}]}),
    _refused("a mirror without encryption as a variable", "hub-env-endpoint", base=HUB,
             model__hub={"env": [{"name": "HF_ENDPOINT", "value": "http://hub.example"}]}),
    _refused("a mirror from a secret", "hub-env-endpoint", base=HUB,
             model__hub={"env": [{"name": "HF_ENDPOINT", "valueFrom": SECRET_VALUE}]}),
    _refused("hub variable with two values", "hub-env-one-value", base=HUB,
             model__hub={"env": _proxy(value="1", valueFrom=SECRET_VALUE)}),
    _refused("hub variable from nowhere", "hub-env-one-source", base=HUB,
             model__hub={"env": _proxy(valueFrom={})}),
    _malformed("nine globs", "spec.model.files", model__files=["*"] * 9),
    _malformed("no uri", "spec.model.uri", model={}),
    _malformed("an endpoint without a scheme", "spec.model.hub.endpoint", base=HUB,
               model__hub={"endpoint": "hub"}),
    _malformed("a switch as a word", "spec.model.trustRemoteCode", model__trustRemoteCode="yes"),
    Row(name="a name of 40 characters", resource_name="a" * 40),
    Row(name="a name of 41 characters", resource_name="a" * 41, refused=("name-format",)),
    Row(name="a name that begins with a digit", resource_name="7b", refused=("name-format",)),
    Row(name="a name with a dot", resource_name="llama3.1", refused=("name-format",)),
    _accepted("a cache", HUB, cache={"persistentVolumeClaim": {"claimName": "models", "subPath": "hub/x"}}),
    _accepted("a cache of what is compiled", CUSTOM,
              cache={"persistentVolumeClaim": {"claimName": "models"}}),
    _refused("a cache that llama.cpp has no use for", "cache-of-llamacpp",
             cache={"persistentVolumeClaim": {"claimName": "models"}}),
    _refused("a cache that nothing could be written to", "cache-of-claim-writable", base=CUSTOM,
             cache={"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
    _refused("a cache without a place", "cache-exactly-one", base=HUB, cache={}),
    _refused("a cache out of the claim", "cache-sub-path-relative", base=HUB,
             cache={"persistentVolumeClaim": {"claimName": "models", "subPath": "a/../../b"}}),
)  # fmt: skip

ENGINE = (
    _accepted("a custom engine", CUSTOM),
    _accepted("no quantization", quantization=ABSENT),
    _accepted("unquantized GGUF", quantization__method="none"),
    _accepted("an image, arguments, variables and resources", engine__image="registry.example/llama:1",
              engine__extraArgs=["--threads", "2", "-tb=2"], engine__env=_env(value="1"),
              engine__resources={"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}}),
    _accepted("a variable from a secret", engine__env=_env(valueFrom=SECRET_VALUE)),
    _accepted("a short context", context={"maxModelLen": 2048, "concurrency": 4}),
    _accepted("parallelism of one", parallelism={"tensor": 1, "pipeline": 1}),
    _refused("no engine", "engine-name-required", engine=ABSENT),
    _refused("no number of GPUs", "gpu-count-required", gpu=ABSENT),
    _refused("vLLM", *VLLM_GATES, base=VLLM),
    _refused("transformers with NF4", *VLLM_GATES, "quantization-method-built",
             "quantization-bitsandbytes-absent", base=VLLM, engine__name="transformers",
             quantization={"method": "bnb-nf4", "bitsandbytes": {"doubleQuant": True}}),
    _refused("AWQ on two GPUs", *VLLM_GATES, "quantization-method-built", "parallelism-one", base=VLLM,
             quantization={"method": "awq"}, gpu__count=2, parallelism={"tensor": 2}),
    _refused("GPUs to choose from", *VLLM_GATES, "gpu-products-absent", base=VLLM,
             gpu__products=["NVIDIA-L4", "A10"]),
    _refused("a MIG slice", *VLLM_GATES, "gpu-resource-name-absent", base=VLLM,
             gpu__resourceName="nvidia.com/mig-1g.10gb"),
    _refused("an FP8 cache", *VLLM_GATES, "quantization-kv-cache-dtype-absent", base=VLLM,
             quantization={"kvCacheDtype": "fp8"}),
    _accepted("a preset", PRESET),
    _accepted("a preset with everything it takes", PRESET, gpu__count=4, model__trustRemoteCode=True,
              quantization={"method": "fp8", "kvCacheDtype": "fp8_e5m2"}, context={"concurrency": 8},
              parallelism={"tensor": 2, "pipeline": 2}),
    _accepted("a preset on a port and a path of its own", PRESET, engine__custom={
        "preset": "sglang", "port": 9000, "healthPath": "/health_generate", "python": "/usr/bin/python3"}),
    _accepted("a preset with an image of one's own", PRESET, engine__custom={"preset": "mlc"},
              engine__image="registry.example/mlc:1"),
    _refused("a preset without an image", "custom-image", base=PRESET, engine__custom={"preset": "tgi"}),
    _refused("a preset and a command", "preset-or-command", base=PRESET,
             engine__custom={"preset": "sglang", "command": ["serve"]}),
    _refused("a preset on the CPU", "preset-on-gpu", base=PRESET, gpu__count=0),
    _refused("a preset wherever", "preset-on-gpu", base=PRESET, gpu=ABSENT),
    _refused("a method the preset has no switch for", "preset-method", base=PRESET,
             quantization={"method": "bnb-int8"}),
    _refused("a cache type of another preset", "preset-kv-cache-dtype", base=PRESET,
             quantization={"kvCacheDtype": "q8_0"}),
    _refused("trust in a server that runs no code", "preset-trust-remote-code", base=PRESET,
             engine__custom={"preset": "mlc"}, engine__image="x", model__trustRemoteCode=True),
    _refused("stages of a server that has none", "preset-pipeline", base=PRESET, gpu__count=2,
             engine__custom={"preset": "tgi"}, engine__image="x", parallelism={"pipeline": 2}),
    _refused("a concurrency nothing bounds", "preset-concurrency", base=PRESET,
             engine__custom={"preset": "textgen"}, engine__image="x", context={"concurrency": 4}),
    _refused("bitsandbytes' settings for a preset", "custom-bitsandbytes", base=PRESET,
             quantization={"method": "bnb-nf4", "bitsandbytes": {"doubleQuant": True}}),
    _accepted("a command that refers to what is set", CUSTOM, gpu__count=4,
              engine__custom__command=["serve", "$(TACHO_QUANTIZATION)", "--kv=$(TACHO_KV_CACHE_DTYPE)",
                                       "$(TACHO_TENSOR_PARALLEL)", "$(TACHO_PIPELINE_PARALLEL)"],
              quantization={"method": "fp8", "kvCacheDtype": "fp8"},
              parallelism={"tensor": 2, "pipeline": 2}),
    _accepted("settings that ask for nothing", CUSTOM, quantization__method="none", gpu__count=1,
              parallelism={"tensor": 1, "pipeline": 1}, model__trustRemoteCode=False),
    _refused("a method past the command", "command-method", base=CUSTOM, quantization__method="fp8"),
    _refused("a cache type past the command", "command-kv-cache-dtype", base=CUSTOM,
             quantization__kvCacheDtype="fp8"),
    _refused("GPUs past the command", "command-tensor", base=CUSTOM, gpu__count=2, parallelism={"tensor": 2}),
    _refused("stages past the command", "command-pipeline", base=CUSTOM, gpu__count=2,
             parallelism={"pipeline": 2}),
    _refused("trust past the command", "command-trust-remote-code", base=CUSTOM,
             model__trustRemoteCode=True),
    _refused("bitsandbytes with GGUF", "bitsandbytes-with-bnb", "quantization-bitsandbytes-absent",
             quantization__bitsandbytes={"computeDtype": "float16"}),
    _refused("double quantization of INT8", *VLLM_GATES, "double-quant-with-4-bit",
             "quantization-method-built", "quantization-bitsandbytes-absent", base=VLLM,
             quantization={"method": "bnb-int8", "bitsandbytes": {"doubleQuant": True}}),
    _refused("a type for computing INT8", *VLLM_GATES, "compute-dtype-with-4-bit",
             "quantization-method-built", "quantization-bitsandbytes-absent", base=VLLM,
             quantization={"method": "bnb-int8", "bitsandbytes": {"computeDtype": "float16"}}),
    _refused("CTranslate2's method elsewhere", "method-of-ctranslate2", "method-of-llamacpp",
             "quantization-method-built", quantization__method="ct2-int8"),
    _refused("another method in CTranslate2", "method-of-ctranslate2", "engine-built",
             engine__name="ctranslate2"),
    _refused("FP8 in llama.cpp", "method-of-llamacpp", "quantization-method-built",
             quantization__method="fp8"),
    _refused("FP8 cache in llama.cpp", "kv-cache-dtype-of-engine", "quantization-kv-cache-dtype-absent",
             quantization__kvCacheDtype="fp8"),
    _refused("custom settings of another engine", "custom-with-name",
             engine__custom={"command": ["x"], "port": 8000}),
    _refused("custom without settings", "custom-required", base=CUSTOM, engine__custom=ABSENT),
    _refused("custom without an image", "custom-image", base=CUSTOM, engine__image=ABSENT),
    _refused("custom without a command", "custom-command", base=CUSTOM, engine__custom={"port": 8000}),
    _refused("custom without a port", "custom-command", base=CUSTOM, engine__custom={"command": ["x"]}),
    _refused("custom on the runtime's port", "custom-port", base=CUSTOM, engine__custom__port=9400),
    _refused("remote code", "extra-args-refused", engine__extraArgs=["--trust-remote-code"]),
    _refused("remote code with underscores", "extra-args-refused",
             engine__extraArgs=["--trust_remote_code=1"]),
    _refused("arguments from a file", "extra-args-refused", engine__extraArgs=["--config", "/x.yaml"]),
    _refused("a port of its own", "extra-args-refused", engine__extraArgs=["--PORT=80"]),
    _refused("the model by its short switch", "extra-args-refused", engine__extraArgs=["-m", "/other.gguf"]),
    _refused("a variable as an argument", "extra-args-variables", engine__extraArgs=["$(HIDDEN)"]),
    _refused("the development mode", "engine-env-refused",
             engine__env=[{"name": "VLLM_SERVER_DEV_MODE", "value": "1"}]),
    _refused("tacho's own variable", "engine-env-refused", engine__env=[{"name": "TACHO_X", "value": "1"}]),
    _refused("a value twice", "engine-env-one-value", engine__env=_env(value="", valueFrom=SECRET_VALUE)),
    _refused("a value from nowhere", "engine-env-one-source", engine__env=_env(valueFrom={})),
    _refused("GPUs among the requests", "resources-requests-names",
             engine__resources={"requests": {"nvidia.com/gpu": "1"}}),
    _refused("GPUs among the limits", "resources-limits-names",
             engine__resources={"limits": {"nvidia.com/gpu": "1"}}),
    _refused("products on the CPU", "products-need-gpus", "gpu-products-absent", gpu__products=["NVIDIA-L4"]),
    _refused("a product twice", "products-distinct", "gpu-products-absent", *VLLM_GATES, base=VLLM,
             gpu__products=["A10", "A10"]),
    _refused("parallelism on the CPU", "parallelism-product", "parallelism-one", parallelism={"tensor": 2}),
    _refused("more pipeline than GPUs", "parallelism-product", "parallelism-one", *VLLM_GATES, base=VLLM,
             gpu__count=3, parallelism={"pipeline": 2}),
    _refused("tensor and pipeline on four GPUs", "parallelism-one", *VLLM_GATES, base=VLLM, gpu__count=4,
             parallelism={"tensor": 2, "pipeline": 2}),
    _malformed("an unknown engine", "spec.engine.name", engine__name="tgi"),
    _malformed("an unknown method", "spec.quantization.method", quantization__method="int3"),
    _malformed("a negative number of GPUs", "spec.gpu.count", "gpu-count-zero", gpu__count=-1),
    _malformed("half a GPU", "spec.gpu.count", gpu__count=0.5),
    _malformed("an unquoted quantity", "spec.engine.resources.requests.cpu",
               engine__resources={"requests": {"cpu": 2}}),
    _malformed("not a quantity", "spec.engine.resources.limits.memory",
               engine__resources={"limits": {"memory": "2 GB"}}),
    _malformed("a variable twice", "spec.engine.env[1]", engine__env=[*_env(value="1"), *_env(value="2")]),
    _malformed("a misspelt field", "spec.engine.extraArg", engine__extraArg=["--threads"]),
    _malformed("too many arguments", "spec.engine.extraArgs", engine__extraArgs=["-v"] * 65),
    _malformed("a context of nothing", "spec.context.maxModelLen", context={"maxModelLen": 0}),
)  # fmt: skip

SERVICE = (
    _accepted("a workload", workload={"inputTokens": 512, "outputTokens": 200}),
    _accepted("replicas and times", replicas=3, startupTimeoutSeconds=600),
    _accepted("no replicas", replicas=0),
    _accepted("a probe", probe={"policy": "Always", "budgetSeconds": 60, "timeoutSeconds": 120}),
    _accepted("a workload that just fits", context={"maxModelLen": 700},
              workload={"inputTokens": 500, "outputTokens": 200}),
    _refused("a workload beyond the context", "workload-in-context", context={"maxModelLen": 700},
             workload={"inputTokens": 600, "outputTokens": 200}),
    _accepted("a budget with the timeout that follows", probe={"budgetSeconds": 3600}),
    _refused("a probe beyond its timeout", "probe-times", probe={"budgetSeconds": 91, "timeoutSeconds": 90}),
    _refused("a timeout below any budget", "probe-times", probe={"timeoutSeconds": 44}),
    _accepted("a promise", slo={"ttftMilliseconds": 500, "percentile": 95}),
    _refused("an empty promise", "slo-has-target", slo={"percentile": 95}),
    _accepted("autoscaling", autoscaling={"minReplicas": 1, "maxReplicas": 8}),
    _accepted("autoscaling with all it has", autoscaling={
        "mode": "Recommend",
        "maxReplicas": 8,
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "tolerance": "0.1",
                        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
            "scaleDown": {"selectPolicy": "Disabled"},
        },
        "schedules": [{"schedule": "0 8 * * MON-FRI", "timeZone": "America/Argentina/Buenos_Aires",
                       "durationSeconds": 3600, "minReplicas": 2, "maxReplicas": 3}],
    }),
    _refused("autoscaling upside down", "autoscaling-bounds",
             autoscaling={"minReplicas": 9, "maxReplicas": 8}),
    _refused("scaling to zero", "autoscaling-zero", autoscaling={"minReplicas": 0, "maxReplicas": 2}),
    _refused("scaling to zero at night", "schedule-zero", autoscaling={
        "maxReplicas": 2, "schedules": [{"schedule": "0 20 * * *", "minReplicas": 0}]}),
    _refused("a schedule upside down", "schedule-bounds", autoscaling={
        "maxReplicas": 2, "schedules": [{"schedule": "0 20 * * *", "minReplicas": 3, "maxReplicas": 2}]}),
    _refused("a schedule of nothing", "schedule-has-bound", autoscaling={
        "maxReplicas": 2, "schedules": [{"schedule": "0 20 * * *"}]}),
    _malformed("a schedule in words", "spec.autoscaling.schedules[0].schedule", autoscaling={
        "maxReplicas": 2, "schedules": [{"schedule": "every morning", "minReplicas": 2}]}),
    _malformed("a pace of another kind", "spec.autoscaling.behavior.scaleUp.policies[0].type", autoscaling={
        "maxReplicas": 2, "behavior": {"scaleUp": {"policies": [
            {"type": "Replicas", "value": 1, "periodSeconds": 15}]}}}),
    _refused("a rollout", "rollout-absent", rollout={"strategy": "Surge"}),
    _refused("Recreate unasked", "recreate-with-downtime", "rollout-absent",
             rollout={"strategy": "Recreate"}),
    _accepted("a price", cost={"pricePerGPUHour": "1.20", "currency": "EUR"}),
    _accepted("a price of less than a cent", cost={"pricePerGPUHour": "0.001"}),
    _refused("a price of nothing", "cost-price", cost={"pricePerGPUHour": "00.00"}),
    _refused("an endpoint", "endpoint-absent", endpoint={"allowedNamespaces": ["ml"]}),
    _malformed("a price as a number", "spec.cost.pricePerGPUHour", cost={"pricePerGPUHour": 1.2}),
    _malformed("a price of four places", "spec.cost.pricePerGPUHour", cost={"pricePerGPUHour": "1.2345"}),
    _malformed("a currency in words", "spec.cost.currency",
               cost={"pricePerGPUHour": "1", "currency": "euro"}),
    _malformed("a namespace twice", "spec.endpoint.allowedNamespaces[1]", "endpoint-absent",
               endpoint={"allowedNamespaces": ["ml", "ml"]}),
    _malformed("replicas as a word", "spec.replicas", replicas="two"),
    _malformed("an unknown policy", "spec.probe.policy", probe={"policy": "Never"}),
    _malformed("a percentile of 100", "spec.slo.percentile", slo={"ttftMilliseconds": 1, "percentile": 100}),
)  # fmt: skip

POD_TEMPLATE = (
    _accepted("placement", podTemplate={
        "metadata": {"labels": {"team": "search"}, "annotations": {"example.com/x": "y"}},
        "spec": {
            "nodeSelector": {"pool": "cpu"},
            "tolerations": [{"key": "dedicated", "value": "llm", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                                           "whenUnsatisfiable": "ScheduleAnyway"}],
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccountName": "llm",
            "terminationGracePeriodSeconds": 300,
        }}),
    _accepted("a mounted ConfigMap", engine__volumeMounts=[{"name": "v", "mountPath": "/etc/engine"}],
              **_volume(configMap={"name": "engine"})),
    _accepted("a claimed device", engine__resources={"claims": [{"name": "nic"}]},
              podTemplate__spec__resourceClaims=[{"name": "nic", "resourceClaimTemplateName": "nic"}]),
    _accepted("a token of the service account",
              **_volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]})),
    _refused("tacho's label", "labels-free", podTemplate={"metadata": {"labels": {"tacho.dev/role": "x"}}}),
    _refused("tacho's annotation", "annotations-free",
             podTemplate={"metadata": {"annotations": {"tacho.dev/x": "y"}}}),
    _refused("a volume of nothing", "volume-one-source", **_volume()),
    _refused("a volume of two things", "volume-one-source",
             **_volume(emptyDir={}, configMap={"name": "engine"})),
    _refused("tacho's volume", "volume-name-free",
             podTemplate__spec__volumes=[{"name": "tacho-runtime", "emptyDir": {}}]),
    _refused("a projection of nothing", "projected-one-source", **_volume(projected={"sources": [{}]})),
    _refused("a mount without its volume", "mounts-declared",
             engine__volumeMounts=[{"name": "v", "mountPath": "/etc/engine"}]),
    _refused("a mount over the runtime", "mounts-free",
             engine__volumeMounts=[{"name": "v", "mountPath": "/tacho/bin"}], **_volume(emptyDir={})),
    _refused("a device nobody claimed", "claims-declared", engine__resources={"claims": [{"name": "nic"}]}),
    _refused("a claim of nothing", "claim-one-source", podTemplate__spec__resourceClaims=[{"name": "nic"}]),
    _refused("a taint that exists with a value", "toleration-value",
             podTemplate__spec__tolerations=[{"key": "k", "operator": "Exists", "value": "v"}]),
    _refused("a taint without a key", "toleration-key", podTemplate__spec__tolerations=[{"value": "v"}]),
    _malformed("a host path", "spec.podTemplate.spec.volumes[0].hostPath", **_volume(hostPath={"path": "/"})),
    _malformed("containers of one's own", "spec.podTemplate.spec.containers",
               podTemplate={"spec": {"containers": []}}),
    _malformed("a label that is no label", "spec.podTemplate.metadata.labels.team",
               podTemplate={"metadata": {"labels": {"team": "a b"}}}),
    _malformed("a spread without a skew", "spec.podTemplate.spec.topologySpreadConstraints[0].maxSkew",
               podTemplate={"spec": {"topologySpreadConstraints": [
                   {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}}),
)  # fmt: skip

TABLE: tuple[Row, ...] = (*MODEL, *ENGINE, *SERVICE, *POD_TEMPLATE)
