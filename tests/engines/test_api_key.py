"""A key of vLLM's that ``engine.env`` takes from a Secret: clients need it, and the probe has it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.engines.planned import changed, planned, run_by_tacho

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

NAME, KEY = "VLLM_API_KEY", "a-key"
SECRET = {"secretKeyRef": {"name": "keys", "key": "vllm"}}


def test_the_key_is_wanted_of_clients_and_known_to_the_probe(
    tmp_path: Path, engines_python: Path, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, KEY)  # what `tacho run` takes in place of a Secret
    changes = {
        "context": {"maxModelLen": 256, "concurrency": 1},
        "workload": {"inputTokens": 16, "outputTokens": 4},
        "probe": {"budgetSeconds": 5, "timeoutSeconds": 300},
        "engine": {"env": [{"name": NAME, "valueFrom": SECRET}]},
    }
    setup, _ = planned("vllm-cpu.yaml", tmp_path, claim=claim, python=engines_python, changes=changes)
    manifest = changed("vllm-cpu.yaml", changes)
    with run_by_tacho(manifest, setup.runtime, tmp_path, claim=claim, python=engines_python) as runtime:
        report = httpx.get(f"http://127.0.0.1:{setup.runtime.runtime_port}/report").json()
        assert report["measurement"]["state"] in ("Complete", "Partial"), report["measurement"]
        url = f"http://127.0.0.1:{runtime.config.engine_port}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
