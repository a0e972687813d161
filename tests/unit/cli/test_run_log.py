"""What ``tacho run`` keeps of the lines that its children print."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tacho_cli.inputs import child
from tacho_cli.problems import CommandError
from tacho_cli.run import serve
from tacho_cli.run.setup import RunOptions, local_setup
from tacho_contract.report import Report
from tools.cluster.ports import free_port
from tools.harness.documents import plain_report
from tools.harness.resources import CLAIM_SPEC, plan, resource


@pytest.mark.parametrize("asked", [False, True])
async def test_a_log_that_nobody_asked_for_does_not_fill_the_disk(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LOG_LIMIT_BYTES", 1000)
    order = dataclasses.replace(RunOptions(file="-"), report_port=free_port())
    setup = local_setup(resource(CLAIM_SPEC), plan(), {"models": tmp_path}, order, tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    log = tmp_path / "asked.log" if asked else scratch / "runtime.log"
    log.write_bytes(b"a line\n" * 1000)
    pod = serve.LocalPod(setup, scratch, lambda _: None, log=log if asked else None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pod.until_exit(), 2)
    assert log.stat().st_size == (7000 if asked else 0)


async def test_a_full_scratch_folder_is_named(tmp_path: Path) -> None:
    """The error of a write to a full disk names no file."""
    order = dataclasses.replace(RunOptions(file="-"), report_port=free_port())
    setup = local_setup(resource(CLAIM_SPEC), plan(), {"models": tmp_path}, order, tmp_path)
    (tmp_path / "live.json").symlink_to("/dev/full")
    with pytest.raises(CommandError, match=f"{tmp_path}: No space left on device; free space there"):
        async with serve.LocalPod(setup, tmp_path, lambda _: None).running():
            pass


def test_of_a_log_of_any_length_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"\nthe cause\n")
    assert "  | the cause" in str(child.ended("the runtime", 1, log))


@pytest.mark.parametrize("free", [0, 4096])
def test_a_child_that_ended_on_a_full_disk_says_so(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its failure nor its log could be written there: nothing but its exit code was shown."""
    (tmp_path / "log").touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    said = str(child.ended("the runtime", 1, tmp_path / "log"))
    assert (f"no space is left in {tmp_path}; free space there, or set TMPDIR" in said) is (free == 0)


async def test_an_engine_that_no_longer_answers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = dataclasses.replace(RunOptions(file="-"), report_port=free_port())
    setup = local_setup(resource(CLAIM_SPEC), plan(), {"models": tmp_path}, order, tmp_path)
    told: list[str] = []
    pod = serve.LocalPod(setup, tmp_path, told.append)
    report = plain_report()

    async def reports(_seconds: float) -> AsyncIterator[Report]:
        for ready in (True, False, False, True):
            yield dataclasses.replace(report, ready=ready, message="serves" if ready else "no healthy answer")

    monkeypatch.setattr(pod, "_reports", reports)
    await pod.until_exit()
    assert told == ["no healthy answer", "serves"]
