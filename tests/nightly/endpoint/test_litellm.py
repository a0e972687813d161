"""LiteLLM's proxy with the configuration that docs/use/one-endpoint.md shows, in front of two engines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.unit.probe.engines import mock_engine
from tools.cluster.ports import free_port
from tools.cluster.processes import NO_PROXY
from tools.harness.operator_process import eventually

ROOT = Path(__file__).parents[3]
PACKAGES = ROOT / "build/litellm/packages"
PAGE, EXAMPLE = ROOT / "docs/use/one-endpoint.md", ROOT / "examples/expose/litellm.yaml"
MASTER, ENGINE = "sk-master", "an-engine-key"
MODELS = ("smollm2", "qwen3-8b")
CHAT = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 8}

pytestmark = pytest.mark.timeout(300)


def shown() -> dict[str, Any]:
    """The configuration of the page."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def pod() -> tuple[dict[str, Any], dict[str, Any]]:
    """The example's configuration, and its container."""
    kinds = {document["kind"]: document for document in yaml.safe_load_all(EXAMPLE.read_text())}
    (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    return yaml.safe_load(kinds["ConfigMap"]["data"]["config.yaml"]), container


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, str]]:
    """The addresses of two engines by their model. One requires a key."""
    with (
        mock_engine(served_name=MODELS[0]) as first,
        mock_engine(served_name=MODELS[1], api_key=ENGINE) as second,
    ):
        ports = zip(MODELS, (first, second), strict=True)
        yield {name: f"http://127.0.0.1:{port}/v1" for name, port in ports}


@contextlib.contextmanager
def proxy(config: Path, port: int, log: Path) -> Iterator[str]:
    """The address of a running proxy, which has the example's variables."""
    _, container = pod()
    values = {"LITELLM_MASTER_KEY": MASTER, "QWEN3_8B_KEY": ENGINE}
    variables = {each["name"]: each.get("value") or values[each["name"]] for each in container["env"]}
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, str(PACKAGES / "bin/litellm"), *arguments],
            env={**os.environ, **NO_PROXY, **variables, "PYTHONPATH": str(PACKAGES)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool | None:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url + container["readinessProbe"]["httpGet"]["path"]).is_success or None
            return None

        try:
            eventually("LiteLLM is ready", is_ready, seconds=200)
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def endpoint(engines: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("litellm")
    config = shown()
    for model in config["model_list"]:
        model["litellm_params"]["api_base"] = engines[model["model_name"]]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with (
        proxy(folder / "config.yaml", free_port(), folder / "log") as url,
        httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {MASTER}"}) as client,
    ):
        yield client


def test_the_page_shows_the_configuration_of_the_example() -> None:
    config, _ = pod()
    assert shown() == config
    bases = [model["litellm_params"]["api_base"] for model in config["model_list"]]
    assert bases == [f"http://{name}.default.svc:8000/v1" for name in MODELS]


def test_both_models_are_listed(endpoint: httpx.Client) -> None:
    found = endpoint.get("/v1/models").json()["data"]
    assert sorted(model["id"] for model in found) == sorted(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_answers(endpoint: httpx.Client, model: str) -> None:
    answer = endpoint.post("/v1/chat/completions", json={**CHAT, "model": model})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.json()["usage"]["completion_tokens"] == CHAT["max_tokens"]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_streams(endpoint: httpx.Client, model: str) -> None:
    body = {**CHAT, "model": model, "stream": True}
    with endpoint.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    texts = [choice["delta"].get("content") for line in lines for choice in json.loads(line)["choices"]]
    assert len([text for text in texts if text]) > 1


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [("", 401, "No api key passed in"), ("Bearer sk-wrong", 400, "No connected db.")],
)
def test_a_client_without_the_key_is_refused(
    endpoint: httpx.Client, header: str, status: int, words: str
) -> None:
    for model in MODELS:
        answer = endpoint.post(
            "/v1/chat/completions", json={**CHAT, "model": model}, headers={"Authorization": header}
        )
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
