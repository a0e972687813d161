"""Starts an engine's server for a test, waits until it is healthy, and ends it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

from tacho_contract.failure import Failure
from tacho_engines.base import Exit
from tacho_engines.registry import runtime_adapter
from tacho_runtime.supervisor.state_files import engine_failure_path, read_engine_failure
from tools.cluster.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
KIB = 1024
LOCAL = httpx.HTTPTransport()
"""No proxy, and no certificates to read: everything is on this machine."""


TRANSFORMERS_LENGTH, TRANSFORMERS_BATCH = 512, 4


def transformers_command(python: Path, model: Path, *words: str) -> list[str | Path]:
    """tacho's own server over Transformers, but for its port."""
    sized = ["--max-model-len", str(TRANSFORMERS_LENGTH), "--max-batch", str(TRANSFORMERS_BATCH)]
    return [python, "-m", "tacho_transformers", "--model", model, "--served-model-name", "m", *sized, *words]


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    model: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def resident_bytes(self, kind: str = "VmRSS") -> int:
        """Of the process itself: VmRSS, RssAnon (its own memory), RssFile (mapped files), VmHWM (peak)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{kind}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * KIB

    def client(self) -> openai.OpenAI:
        """OpenAI's own client."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            timeout=120,
            http_client=httpx.Client(transport=LOCAL, trust_env=False),
        )

    def post(self, path: str, body: Mapping[str, object]) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=120, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=30, trust_env=False)


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path],
    log: Path,
    *,
    model: str = "m",
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600,
) -> Iterator[Served]:
    """``command`` with ``--port`` added, healthy; ended by SIGTERM. What the tree's packages need is on the
    path, the hub is out of reach. Raises AssertionError with the log where it does not come up."""
    port = port or free_port()
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "runtime"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        **(environment or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command), "--port", str(port)], stdout=output, stderr=output, env=variables
        )
    served = Served(url=f"http://127.0.0.1:{port}", model=model, process=process, log=log)
    try:
        _wait(served, seconds)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(served: Served, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = "\n".join(served.lines()[-30:])
        assert served.process.poll() is None, f"ended with {served.process.returncode}:\n{said}"
        with contextlib.suppress(httpx.HTTPError):
            if served.get("/health").status_code == 200:
                return
        time.sleep(0.25)
    raise AssertionError(f"not healthy within {seconds:.0f} s:\n" + "\n".join(served.lines()[-30:]))


def assert_abandoned_ends(served: Served, tokens: int) -> None:
    """A request whose client has gone is computed no further."""
    with served.client() as client, contextlib.suppress(openai.APITimeoutError):
        client.with_options(timeout=0.5).completions.create(
            model="m", prompt="x", max_tokens=tokens, extra_body={"ignore_eos": True}
        )
    deadline = time.monotonic() + 20
    while "tacho_server_requests_running 0.0" not in served.get("/metrics").text:
        assert time.monotonic() < deadline, "a request that nobody waits for still runs"
        time.sleep(0.2)


def damaged(source: Path, model: Path, how: str, *, pickle: bytes, architecture: str) -> None:
    """A copy of the model by links, damaged; ``architecture``: the one it names instead of Llama."""
    model.mkdir()
    for path in source.iterdir():
        (model / path.name).symlink_to(path)
    weights, config = model / "model.safetensors", model / "config.json"
    if how == "no tokenizer":
        (model / "tokenizer.json").unlink()
    elif how == "truncated":
        whole = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(whole[: len(whole) // 2])
    elif how == "pickled":
        weights.unlink()
        (model / "pytorch_model.bin").write_bytes(pickle)
    elif how == "unknown architecture":
        text = config.read_text()
        config.unlink()
        config.write_text(text.replace('"llama"', f'"{architecture}"'))


def failed_start(engine: str, command: Sequence[str | Path], folder: Path) -> tuple[int, Failure]:
    """The exit code of a server that ends at its start, and what the runtime adapter makes of it."""
    done = subprocess.run(
        list(map(str, command)),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "runtime"),
            "TACHO_ENGINE_FAILURE": engine_failure_path(str(folder)),
            "TMPDIR": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    end = Exit(code=done.returncode, reported=read_engine_failure(str(folder)))
    return done.returncode, runtime_adapter(engine).classify(
        end, (done.stdout + done.stderr).splitlines()[-200:]
    )
