"""A real engine on one CPU core of this machine, and what else that core did meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.cell import descendants
from tools import engines
from tools.cluster.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS, STOP_SECONDS = 300, 30
BUSY = (0, 1, 2, 5, 6, 7)
"""Fields of a CPU in /proc/stat: user, nice, system, irq, softirq, steal."""
NICE = -15
"""Priority of the engine. The kernel gives each session a group of its own, whose priority counts as well."""
CONTEXT = 512
"""Tokens of a request, at most."""


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    pid: int
    """0: it was not started here, and nothing is known of its machine."""
    core: int

    def others_seconds(self) -> float:
        """Time of the engine's core that other processes, and other guests of its host, had."""
        fields = Path("/proc/stat").read_text().split(f"cpu{self.core} ")[1].split()
        busy = sum(int(fields[place]) for place in BUSY)
        own = 0
        for pid in (self.pid, *descendants(self.pid)):
            with contextlib.suppress(OSError):
                times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                own += int(times[11]) + int(times[12])
        return (busy - own) / os.sysconf("SC_CLK_TCK")


def command(engine: str, slots: int) -> tuple[list[str], dict[str, str]]:
    """(command but for its port, variables). Raises StepError where the engine cannot be installed."""
    if engine == "llamacpp":
        sizes = ["-c", str(CONTEXT * slots), "-np", str(slots), "--threads", "1", "--metrics"]
        model = str(engines.gguf_model())
        return [sys.executable, "-m", "tacho_llamacpp", "-m", model, *sizes], {}
    server = [str(engines.environment()), "-m", "vllm.entrypoints.openai.api_server"]
    model = str(engines.safetensors_model())
    sizes = ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(slots), "--enforce-eager"]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return [*server, "--model", model, *sizes], variables


@contextlib.contextmanager
def serving(engine: str, slots: int, core: int, log: Path) -> Iterator[Server]:
    """The engine on ``core``, healthy; ended afterwards. Raises RuntimeError with the log's end."""
    arguments, variables = command(engine, slots)
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "HF_HUB_OFFLINE": "1", **variables}
    process = _started([*arguments, "--port", str(port)], environment, core, log)
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid, core)
        _wait(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in (process.pid, *descendants(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _started(
    arguments: Sequence[str], environment: Mapping[str, str], core: int, log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            arguments,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: _alone(core),
        )


def _alone(core: int) -> None:
    """In a child, before it is the command: on one core, before others where that is allowed."""
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        Path("/proc/self/autogroup").write_text(str(NICE))


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/health", timeout=10):
            return
        time.sleep(0.5)
    raise RuntimeError("the engine did not start:\n" + "\n".join(log.read_text().splitlines()[-20:]))
