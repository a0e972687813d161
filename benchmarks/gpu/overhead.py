"""What `tacho run` adds to a start: the same engine by hand and through tacho, one after the other.

    python -m benchmarks.gpu.overhead SPEC.yaml OUT.json [--pvc NAME=FOLDER ...] [--rounds 3] [--health PATH]

SPEC should have `probe: {policy: Disabled}`: what the probe takes is told by each measurement. A first start,
which counts for nothing, makes what is compiled and cached, and shows the engine's command and environment as
tacho renders them. By hand is then that command with that environment, from its process to the first healthy
answer. Through tacho is from the process of `tacho run` to /readyz, parted at the processes of the runtime
and of the engine and at the engine's first healthy answer: inspecting and planning come before the runtime,
and in a cluster before the pod; a pod adds what is between the runtime and the engine, and what follows the
healthy answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.gpu.__main__ import wait_until_empty
from benchmarks.gpu.cell import descendants

PORT, REPORT_PORT = 8021, 9421
START_SECONDS = 300
STOP_SECONDS = 30
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Engine:
    """A process as it was found: what it takes to start another like it."""

    pid: int
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: str


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(url: str, process: subprocess.Popen[bytes]) -> float:
    """The time at which ``url`` first answered 200; ends the program where it never will."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if answers(url):
            return time.monotonic()
        time.sleep(POLL_SECONDS)
    sys.exit(f"{url} did not answer: exit code {process.poll()}")


def arguments_of(path: Path) -> list[str]:
    """A file of /proc whose words end in zero bytes."""
    return [word.decode(errors="surrogateescape") for word in path.read_bytes().split(b"\0")[:-1]]


def runtime_below(pid: int) -> int | None:
    """The process of tacho's runtime that serves."""
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if arguments_of(Path(f"/proc/{child}/cmdline"))[-1:] == ["tacho_runtime"]:
                return child
    return None


def engine_below(runtime: int | None) -> Engine | None:
    """The runtime's child, once it is the engine's program."""
    for child in descendants(runtime) if runtime else ():
        with contextlib.suppress(OSError):
            place = Path(f"/proc/{child}")
            command = arguments_of(place / "cmdline")
            if str(PORT) in command:
                environment = dict(each.split("=", 1) for each in arguments_of(place / "environ"))
                return Engine(child, tuple(command), environment, os.readlink(place / "cwd"))
    return None


@contextlib.contextmanager
def running(command: list[str], log: Path, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process and all that comes of it, stopped at the end; the GPU is empty after."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **more)  # type: ignore[call-overload]  # the keywords are Popen's
    try:
        yield process
    finally:
        below = descendants(process.pid)  # once it has ended nobody says whose they were
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        for pid in (*below, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    wait_until_empty()


T = TypeVar("T")


def found(find: Callable[[], T | None], process: subprocess.Popen[bytes]) -> T:
    """What ``find`` finds in the end; ends the program where it never will."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (seen := find()) is not None:
            return seen
        time.sleep(POLL_SECONDS)
    sys.exit(f"tacho run started no engine: exit code {process.poll()}")


def through_tacho(command: list[str], health: str, log: Path) -> tuple[dict[str, float], Engine]:
    """Seconds of the parts of one start, and the engine that it started."""
    began = time.monotonic()
    with running(command, log) as process:
        runtime = found(lambda: runtime_below(process.pid), process)
        pod = time.monotonic()
        engine = found(lambda: engine_below(runtime), process)
        placed = time.monotonic()
        healthy = wait_for(f"http://127.0.0.1:{PORT}{health}", process)
        ready = wait_for(f"http://127.0.0.1:{REPORT_PORT}/readyz", process)
    parts = {
        "before_runtime": pod - began,
        "runtime_to_engine": placed - pod,
        "engine": healthy - placed,
        "after_healthy": ready - healthy,
    }
    return {name: round(seconds, 2) for name, seconds in parts.items()}, engine


def added(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What tacho's own parts take. Two starts of the engine differ by more: they are not subtracted."""
    pod = [each["runtime_to_engine"] + each["after_healthy"] for each in rounds]
    whole = [each["before_runtime"] + inside for each, inside in zip(rounds, pod, strict=True)]
    return {
        "added_seconds": round(statistics.median(whole), 2),
        "added_in_a_pod_seconds": round(statistics.median(pod), 2),
    }


def by_hand(engine: Engine, health: str, log: Path) -> float:
    began = time.monotonic()
    with running(list(engine.command), log, env=engine.environment, cwd=engine.folder) as process:
        return round(wait_for(f"http://127.0.0.1:{PORT}{health}", process) - began, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pvc", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--health", default="/health")
    asked = parser.parse_args()
    log = asked.out.with_suffix(".log")
    command = [sys.executable, "-m", "tacho_cli.main", "run", "-f", str(asked.spec.resolve())]
    command += ["--port", str(PORT), "--report-port", str(REPORT_PORT)]
    command += [word for pair in asked.pvc for word in ("--pvc", pair)]
    with tempfile.TemporaryDirectory() as scratch:
        command += ["--log", str(Path(scratch) / "engine.log")]
        first, engine = through_tacho(command, asked.health, log)
        rounds = []
        for _ in range(asked.rounds):
            hand = by_hand(engine, asked.health, log)
            parts, _again = through_tacho(command, asked.health, log)
            rounds.append({"by_hand": hand, "through_tacho": round(sum(parts.values()), 2), **parts})
            print(json.dumps(rounds[-1]), flush=True)
    told = {
        "command": sys.argv[1:],
        "engine": engine.command,
        "first": first,
        "rounds": rounds,
        **added(rounds),
    }
    asked.out.write_text(json.dumps(told, indent=1) + "\n")
    print(f"{json.dumps(added(rounds))} (medians of {len(rounds)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
