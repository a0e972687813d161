"""``tacho logs``: which pods, their lines with classes, and how a container ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_cli.logs import ended_with, line_class, troubled
from tacho_contract.failure import FailedError, FailureClass, termination_message
from tacho_engines.registry import ENGINES
from tacho_operator.core.pods.view import PodView, Termination
from tests.unit.cli.commands import call, play_kubectl
from tests.unit.cli.test_status import RESOURCE
from tests.unit.contract.test_text import hidden

OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def pod(name: str, *, ready: bool, age: int = 0, role: str = "server", **engine: Any) -> dict[str, Any]:
    status = "True" if ready else "False"
    return {
        "metadata": {
            "name": name,
            "labels": {"tacho.dev/role": role},
            "creationTimestamp": f"2026-11-20T12:00:{age:02}Z",
        },
        "status": {
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": status}],
            "containerStatuses": [{"name": "engine", "restartCount": 0, **engine}],
        },
    }


def ended(code: int, message: str = "", reason: str = "Error") -> Termination:
    return Termination(exit_code=code, reason=reason, message=message, started=None, finished=None)


def test_pods_that_are_not_ready_come_first_newest_first() -> None:
    pods = [pod("a", ready=True, age=9), pod("b", ready=False, age=1), pod("c", ready=False, age=2)]
    marker = pod("marker", ready=False, age=8, role="avoid")
    done = pod("done", ready=False, age=7, role="inspect")
    done["status"]["phase"] = "Succeeded"
    assert [found.name for found, _ in troubled(list(map(PodView, [*pods, marker, done])))] == ["c", "b"]
    assert [found.name for found, _ in troubled([PodView(item) for item in pods[:1]])] == ["a"]
    assert troubled([]) == []


def test_the_container_that_failed_is_the_one_to_read() -> None:
    item = pod("a", ready=False)
    failed = {"name": "fetch", "state": {"terminated": {"exitCode": 1}}}
    item["status"]["initContainerStatuses"] = [{"name": "inject", "state": {}}, failed]
    assert [container for _, container in troubled([PodView(item)])] == ["fetch"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (OUT_OF_MEMORY, "GPUOutOfMemory"),
        ("OSError: [Errno 28] No space left on device", "DiskFull"),
        ("INFO: Application startup complete.", ""),
        ("INFO 11-20 loading weights took 12 s", ""),
    ],
)
def test_a_line_has_the_class_that_it_names(line: str, expected: str) -> None:
    assert line_class("vllm", line) == expected


@given(st.sampled_from([*ENGINES, "", "unknown"]), st.text())
def test_any_line_has_a_known_class_or_none(engine: str, line: str) -> None:
    assert line_class(engine, line) in {"", *map(str, FailureClass)}


def test_the_end_is_that_of_the_runtime_else_of_the_lines() -> None:
    shown = [("", "loading"), ("GPUOutOfMemory", OUT_OF_MEMORY)]
    reported = FailedError.of(FailureClass.KV_CACHE_TOO_SMALL, "3072 tokens fit").failure
    assert ended_with(ended(1, termination_message(reported)), shown) == reported
    by_lines = ended_with(ended(1), shown)
    assert by_lines is not None
    assert by_lines.failure_class == "GPUOutOfMemory"
    killed = ended_with(ended(137, reason="OOMKilled"), shown[:1])
    assert killed is not None
    assert killed.failure_class == "HostOutOfMemory"
    assert ended_with(ended(0), shown) is None
    assert ended_with(ended(1), [("", "ModelNotFound: tests/x does not exist.")]) is None
    unplanned = ended_with(ended(2), [])
    assert unplanned is not None
    assert unplanned.message == "the container ended with exit code 2"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 1, "message": "short"}}
    crashed = pod("mistral-1", ready=False, restartCount=4, state=waiting, lastState=last)
    (tmp_path / "pods").write_text(json.dumps({"items": [crashed]}))
    (tmp_path / "resource").write_text(json.dumps(RESOURCE))
    (tmp_path / "lines").write_text(f"loading [bold]\x1b[2J\n{OUT_OF_MEMORY}\n")
    program = f"""case "$*" in
*" logs "*) cat {tmp_path}/lines;;
*" get pods "*) cat {tmp_path}/pods;;
*) cat {tmp_path}/resource;;
esac
"""
    return play_kubectl(tmp_path, monkeypatch, program)


def test_the_lines_of_the_run_that_failed_with_their_class(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "logs", "mistral", "--tail", "7")
    assert told.code == 0, told
    assert "logs mistral-1 -c engine --tail=7 --previous" in (kubectl / "asked").read_text()
    lines = told.out.splitlines()
    assert lines[0] == "mistral-1 engine, restarts 4"
    assert lines[1].startswith("loading [bold]")
    assert lines[2] == f"GPUOutOfMemory: {OUT_OF_MEMORY}"
    assert lines[3].startswith("GPUOutOfMemory: the container ended with exit code 1")
    assert lines[4].startswith("  -> ")
    assert not hidden(told.out, "\n")


def test_the_document_has_the_same(kubectl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log,) = json.loads(call(capsys, "logs", "mistral", "-o", "json").out)["logs"]
    assert (log["pod"], log["container"], log["restarts"]) == ("mistral-1", "engine", 4)
    assert log["failure"]["class"] == "GPUOutOfMemory"
    assert log["lines"][1] == {"class": "GPUOutOfMemory", "text": OUT_OF_MEMORY}


def test_wide_has_the_node_and_names_are_those_of_kubectl(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (item,) = json.loads((kubectl / "pods").read_text())["items"]
    assert call(capsys, "logs", "mistral", "-o", "wide").out.startswith(
        "mistral-1 engine on no node, restarts 4\n"
    )
    (kubectl / "pods").write_text(json.dumps({"items": [{**item, "spec": {"nodeName": "gpu-3"}}]}))
    assert call(capsys, "logs", "mistral", "-o", "wide").out.startswith(
        "mistral-1 engine on gpu-3, restarts 4\n"
    )
    (log,) = json.loads(call(capsys, "logs", "mistral", "-o", "json").out)["logs"]
    assert log["node"] == "gpu-3"
    (kubectl / "asked").unlink()
    assert call(capsys, "logs", "mistral", "-o", "name").out == "pod/mistral-1\n"
    assert " logs " not in (kubectl / "asked").read_text()


def test_no_pods_is_told(kubectl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kubectl / "pods").write_text('{"items": []}')
    told = call(capsys, "logs", "mistral")
    assert (told.code, told.out) == (2, "")
    assert "tacho status mistral has the reason" in told.err
