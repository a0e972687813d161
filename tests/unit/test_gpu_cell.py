"""A cell's command is stopped with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import cell

DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    """A zombie, which its new parent has yet to see, has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_ends_by_itself_is_told_as_it_was() -> None:
    ended = cell.run(python("import sys; print('shown'); print('said', file=sys.stderr); sys.exit(3)"), 60)
    assert ended == cell.Ended(3, "shown\n", "said\n")


@pytest.fixture
def when_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], Path]:
    """Lets the wait for a command end with an exception as soon as the command has written a file."""
    plain: Callable[..., tuple[str, str]] = subprocess.Popen.communicate

    def prepared(raised: BaseException) -> Path:
        ready = tmp_path / "ready"
        told: list[BaseException] = [raised]

        def communicate(self: subprocess.Popen[str], *given: object, **named: object) -> tuple[str, str]:
            if told:
                while not ready.exists() and self.poll() is None:
                    time.sleep(0.02)
                raise told.pop()
            return plain(self, *given, **named)

        monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
        return ready

    return prepared


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["heard here", "ignored here"])
def _interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whoever is started in the background of a script ignores SIGINT."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


def late() -> subprocess.TimeoutExpired:
    return subprocess.TimeoutExpired("command", 90)


@pytest.mark.usefixtures("_interrupts")
def test_what_is_cut_off_is_asked_first_and_keeps_its_words(when_ready: Any) -> None:
    ready = when_ready(late())
    code = (
        "import sys, time\n"
        f"try:\n    open({str(ready)!r}, 'w')\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('drained', file=sys.stderr)"
    )
    assert cell.run(python(code), limit_seconds=90) == cell.Ended(None, "", "drained\nstopped after 90 s")


def test_an_engine_in_a_session_of_its_own_does_not_outlive_its_cell(when_ready: Any) -> None:
    """Neither of them ends when asked."""
    ready = when_ready(late())
    code = (
        f"{DEAF}import os, subprocess, sys\n"
        f"engine = subprocess.Popen([sys.executable, '-c', {DEAF + 'time.sleep(600)'!r}],\n"
        "    start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        f"open({str(ready) + '.new'!r}, 'w').write(str(engine.pid))\n"
        f"os.rename({str(ready) + '.new'!r}, {str(ready)!r})\n"
        "time.sleep(600)"
    )
    assert cell.run(python(code), limit_seconds=90, stop_seconds=0.1).code is None
    engine = int(ready.read_text())
    for _ in range(1000):  # killed is not yet ended
        if is_alive(engine):
            time.sleep(0.02)
    assert not is_alive(engine)


def test_an_interruption_stops_the_cell_and_is_raised(when_ready: Any) -> None:
    ready = when_ready(KeyboardInterrupt())
    with pytest.raises(cell.Interrupted, match="KeyboardInterrupt\ninterrupted"):
        cell.run(python(f"import time; open({str(ready)!r}, 'w'); time.sleep(600)"), 90)


def test_descendants_are_children_and_theirs() -> None:
    assert cell.descendants(2**30) == []
    with subprocess.Popen(python("import time; time.sleep(600)")) as child:
        assert child.pid in cell.descendants(os.getpid())
        child.kill()
