"""``tacho run`` of a model on a hub: interrupted, cut, continued; and who sees the token."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.commands import manifest
from tests.unit.cli.processes import model_folder, started, until
from tests.unit.hub.conftest import RunningHub
from tools.cluster.ports import free_port

REPOSITORY = "acme/smollm2"
TOKEN = "hf_of-the-caller"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    folder = tmp_path / "hub" / REPOSITORY
    folder.mkdir(parents=True)
    (model,) = model_folder().glob("*.gguf")
    (folder / model.name).symlink_to(model)
    running = RunningHub(tmp_path / "hub")
    running.fake.tokens["*"] = TOKEN
    yield running
    running.stop()


def sent_bytes(hub: RunningHub) -> int:
    return sum(hub.fake.bytes_sent.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_a_download_is_continued_and_the_engine_never_sees_the_token(
    number: int, tmp_path: Path, hub: RunningHub
) -> None:
    (model,) = model_folder().glob("*.gguf")
    size_bytes = model.stat().st_size
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = manifest(
        tmp_path,
        model={"uri": f"hf://{REPOSITORY}", "hub": {"endpoint": hub.url}},
        probe={"policy": "Disabled"},
    )
    environment = {"HF_TOKEN": TOKEN, "XDG_CACHE_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    arguments = ["run", "-f", file, "--once"]

    def ports() -> list[str]:
        return ["--port", str(free_port()), "--report-port", str(free_port())]

    hub.fake.faults.rate = 32_000_000
    with started(scratch, *arguments, *ports(), **environment) as running:
        until(lambda: sent_bytes(hub) > 0.3 * size_bytes, f"no download: {running.lines}")
        told = running.wait_for("WaitingForModel: fetch: Downloading, ")
        assert f"of {size_bytes / 1e6:.1f} MB" in told
        runtime = Path(f"/proc/{running.member('-m tacho_runtime ')}/environ").read_bytes()
        assert TOKEN.encode() not in runtime
        fetch = Path(f"/proc/{running.member('tacho_runtime.hub.fetch')}/environ").read_bytes()
        assert TOKEN.encode() in fetch
        os.kill(running.process.pid, number)
        assert running.end() == 130
        until(lambda: not running.family(), f"processes are left: {running.family()}")
        assert not list(scratch.glob("tacho-*"))
    with started(scratch, *arguments, *ports(), **environment) as running:
        until(lambda: sent_bytes(hub) > 0.6 * size_bytes, f"no download: {running.lines}")
        os.kill(running.member("tacho_runtime.hub.fetch"), signal.SIGKILL)
        running.wait_for("fetch failed and is retried in 1 s: its process ended with code -9")
        hub.fake.faults.rate = 0
        assert running.end() == 0, running.lines
    assert sent_bytes(hub) < 1.5 * size_bytes, "what was there was not downloaded again"


def test_a_model_that_needs_a_token_says_so(tmp_path: Path, hub: RunningHub) -> None:
    file = manifest(tmp_path, model={"uri": f"hf://{REPOSITORY}", "hub": {"endpoint": hub.url}})
    with started(tmp_path, "plan", "-f", file, HF_TOKEN="", NO_PROXY="127.0.0.1") as running:
        assert running.end() == 2
    assert any(line.startswith("tacho: AuthRequired: ") for line in running.lines), running.lines
