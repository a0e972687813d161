"""The inspect container: its answer, its deadline and its way to the hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig, InspectResult
from tacho_contract.uri import HubUri, parse_uri
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of
from tools.cluster.certs import Authority
from tools.mock.checkpoints import write_checkpoint

INSPECT = ("-m", "tacho_runtime.hub.inspect", "--print")


def run(
    config: InspectConfig | str, tmp_path: Path, command: tuple[str, ...] = INSPECT, **environment: str
) -> tuple[int, InspectResult, str]:
    log = tmp_path / "termination-log"
    log.write_text("")
    text = config if isinstance(config, str) else codec.dumps(config)
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "TACHO_INSPECT_CONFIG": text, "TACHO_TERMINATION_LOG": str(log), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == log.read_text(), "after what a library may print"
    assert len(log.read_text()) <= 4096
    return done.returncode, codec.unpack(InspectResult, log.read_text()), done.stderr


def test_process_with_facts(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.tokens = {"acme/llama": "hf_secret_value"}
    code, result, errors = run(published, tmp_path, HF_TOKEN="hf_secret_value")
    assert (code, errors) == (0, "")
    assert result.facts == facts_of(published, "hf_secret_value")


def test_process_with_failure(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.tokens = {"acme/llama": "right"}
    code, result, errors = run(published, tmp_path, HF_TOKEN="hf_wrong_value")
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class in errors
    assert "hf_wrong_value" not in errors + codec.dumps(result)


def test_a_result_that_cannot_be_written_is_no_success(published: InspectConfig) -> None:
    """As on a node whose disk is full. The kubelet takes the end of the log then."""
    done = subprocess.run(
        [sys.executable, *INSPECT],
        env={
            **os.environ,
            "TACHO_INSPECT_CONFIG": codec.dumps(published),
            "TACHO_TERMINATION_LOG": "/nowhere/log",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "cannot write /nowhere/log" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uri": 5}'])
def test_process_with_a_broken_configuration(text: str, tmp_path: Path) -> None:
    code, result, _ = run(text, tmp_path)
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.INVALID_CONFIG


def test_a_time_limit_that_is_no_number(published: InspectConfig, tmp_path: Path) -> None:
    """It was a model that could not be understood."""
    code, result, _ = run(published, tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="60s")
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.INVALID_CONFIG
    assert "'60s'" in result.failure.message


def test_process_ends_at_its_deadline(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    hub.fake.faults.stall_seconds = 30
    config = InspectConfig(uri=published.uri, endpoint=published.endpoint, timeout_seconds=4)
    code, result, _ = run(config, tmp_path)
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert "4 s" in result.failure.message


HANGING = """
import os, sys, threading
from tacho_runtime.hub import inspect
os.scandir = lambda path: threading.Event().wait(50)
sys.exit(inspect.main(["--print"]))
"""


@pytest.mark.parametrize("uri", ["pvc://models/m", "file://{tmp_path}/m"])
def test_a_claim_that_does_not_answer_is_no_trouble_of_the_hub(uri: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    source = parse_uri(uri.format(tmp_path=tmp_path))
    config = InspectConfig(uri=source, claim_dir=str(tmp_path), timeout_seconds=1)
    code, result, _ = run(config, tmp_path, ("-c", HANGING))
    assert code == 1
    assert result.failure is not None
    assert (result.failure.failure_class, result.failure.retryable) == ("InspectionTimeout", True)
    assert str(source) in result.failure.message
    assert "claim" in result.failure.next_step
    assert "hub" not in result.failure.next_step


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_process_trusts_a_given_ca(
    tls_hub: RunningHub, authority: Authority, tmp_path: Path, name: str
) -> None:
    write_checkpoint(tls_hub.root / "acme/llama", "small")
    config = InspectConfig(uri=HubUri("acme/llama"), endpoint=tls_hub.url)
    others = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")
    bundle = str(authority.pair.certificate)
    assert run(config, tmp_path, **others | {name: bundle})[0] == 0
    code, result, _ = run(config, tmp_path, **others)
    assert code == 1
    assert result.failure is not None
    assert (result.failure.failure_class, result.failure.retryable) == (FailureClass.HUB_UNREACHABLE, False)
    assert "caBundleConfigMapRef" in result.failure.next_step


def test_process_goes_through_a_proxy(hub: RunningHub, published: InspectConfig, tmp_path: Path) -> None:
    """The fake hub, asked for a whole URL of another host, answers as a proxy to that host would."""
    config = InspectConfig(uri=published.uri, endpoint="http://hub.example")
    code, result, _ = run(config, tmp_path, HTTP_PROXY=hub.url, NO_PROXY="", no_proxy="")
    assert code == 0, result.failure
    assert {entry["host"] for entry in hub.fake.log} == {"hub.example"}


@pytest.mark.parametrize("endpoint", ["http://hub.example", " http://hub.example", "HTTP://hub.example"])
def test_a_hub_without_encryption_as_a_variable_gets_no_token(endpoint: str, tmp_path: Path) -> None:
    """Whatever rules let it through: the pod looks at what it will ask, before it reads the token."""
    config = InspectConfig(uri=HubUri("acme/llama"))
    code, result, errors = run(config, tmp_path, HF_ENDPOINT=endpoint, HF_TOKEN="hf_secret_value")
    assert code == 1
    assert result.failure is not None
    assert result.failure.failure_class == FailureClass.INVALID_CONFIG
    assert "not encrypted" in result.failure.message
    assert "hf_secret_value" not in errors


def test_the_endpoint_that_the_operator_has_checked_is_the_one_that_is_asked(
    hub: RunningHub, published: InspectConfig, tmp_path: Path
) -> None:
    assert published.endpoint.startswith("http://")
    assert run(published, tmp_path, HF_ENDPOINT="http://127.0.0.1:1")[0] == 0


IMPORTING = """
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "tacho_contract.codec":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
runpy.run_module(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("module", ["inspect", "fetch"])
def test_a_signal_while_it_imports_ends_it(module: str) -> None:
    """PID 1 ignored it: a pod that was deleted as it started ran to the end of its grace period."""
    command = [sys.executable, "-c", IMPORTING, f"tacho_runtime.hub.{module}"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 143
