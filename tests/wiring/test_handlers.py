"""kopf within the process: a failure ends nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tacho_operator.shell import handlers
from tacho_operator.shell.handlers import KopfRunner
from tacho_operator.shell.store.reflector import MAX_BACKOFF_SECONDS

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: abc}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
current-context: none
"""


async def test_kopf_takes_nothing_else_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    taken = asyncio.Event()
    runner = KopfRunner(kubeconfig=str(path), take_signals=taken.set)
    running = asyncio.create_task(runner.watch("", lambda *_: None))
    beside = asyncio.create_task(asyncio.Event().wait())
    async with asyncio.timeout(30):
        await taken.wait()  # kopf takes the signals, and the process takes them back
    running.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(running, return_exceptions=True)
    assert not beside.done(), "kopf cancels its own tasks alone"
    beside.cancel()


async def test_the_end_of_kopf_runs_its_cleanup_once_which_logs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without that line of its cleanup, tasks of kopf may be left behind."""
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    caplog.set_level("DEBUG", logger=handlers.__name__)
    taken = asyncio.Event()
    running = asyncio.create_task(
        KopfRunner(kubeconfig=str(path), take_signals=taken.set).watch("", lambda *_: None)
    )
    async with asyncio.timeout(30):
        await taken.wait()
    assert "kopf ended" not in caplog.messages
    running.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(running, return_exceptions=True)
    assert caplog.messages.count("kopf ended") == 1


async def test_what_fails_is_started_anew_after_growing_pauses_and_logged_once_per_type_of_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [RuntimeError("kopf has failed"), OSError("refused"), RuntimeError("again"), OSError("again")]
    slept: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def run() -> None:
        if len(slept) < 20:
            raise errors[len(slept) % len(errors)]
        await asyncio.Event().wait()

    monkeypatch.setattr(handlers.asyncio, "sleep", record)
    task = asyncio.create_task(handlers.supervised("watch", run))
    async with asyncio.timeout(5):
        while len(slept) < 20:
            await sleep(0.01)
    task.cancel()
    assert 0 < slept[0] <= 0.5 < slept[4] <= slept[19] * 2 <= 2 * MAX_BACKOFF_SECONDS
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert logged == [
        "kopf's watch failed and starts anew: RuntimeError: kopf has failed",
        "kopf's watch failed and starts anew: OSError: refused",
    ]
