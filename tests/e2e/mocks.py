"""The mock engine as a resource's engine, with a model that nobody parses."""

from __future__ import annotations

from typing import Any

from tests.e2e.claims import filled
from tests.e2e.conftest import Installed
from tests.e2e.load import Arrivals, service_url
from tests.e2e.resource import Llmd, example

INPUT_TOKENS, OUTPUT_TOKENS = 128, 16
ENGINE = (
    "sh", "-c", 'test -f "$1/weights.bin" && shift && exec "$@"', "sh", "$(TACHO_MODEL_PATH)",
    "python", "-m", "tools.mock.engine", "--host=0.0.0.0", "--port=$(TACHO_PORT)",
    "--served-name=$(TACHO_SERVED_NAME)", "--max-model-len=$(TACHO_MAX_MODEL_LEN)",
    "--max-num-seqs=$(TACHO_CONCURRENCY)",
)  # fmt: skip


def fill_model(tacho: Installed, namespace: str) -> str:
    """A model that nobody parses, on the claim ``models``; the namespace."""
    return filled(tacho, namespace, "sh", "-c", "mkdir /models/mine && echo 1 > /models/mine/weights.bin")


def mock(tacho: Installed, *arguments: str, **spec: Any) -> dict[str, Any]:
    """The example's manifest with the mock engine in it."""
    engine = {
        "name": "custom",
        "image": tacho.images["tacho-fakes"],
        "custom": {"command": [*ENGINE, *arguments], "port": 8010, "healthPath": "/health"},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    }
    own: dict[str, Any] = {
        "model": {"uri": "pvc://models/mine", "servedName": "mine"},
        "quantization": {"method": "none"},
        "engine": engine,
        "context": {"maxModelLen": 3000, "concurrency": 3},
        "workload": {"inputTokens": INPUT_TOKENS, "outputTokens": OUTPUT_TOKENS},
        "probe": {"budgetSeconds": 40, "timeoutSeconds": 180},
    }
    return example(**(own | spec))


def arrivals_at(llmd: Llmd) -> Arrivals:
    """Requests of the mock's lengths to the resource's Service; none yet."""
    body = {"model": "mine", "prompt": list(range(INPUT_TOKENS)), "max_tokens": OUTPUT_TOKENS}
    url = service_url(llmd, "/v1/completions")
    return Arrivals(url, {**body, "ignore_eos": True}, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)
