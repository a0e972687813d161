"""The compiled client of the long loops, beside Python's, on an engine of a known law.

Here, as this tier has Go.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.paths import REPOSITORY
from tools.cluster.toolchain import find_go

SOURCE = REPOSITORY / "benchmarks" / "gpu" / "closed_loop"


@pytest.fixture
def engine() -> Iterator[str]:
    command = [sys.executable, "-m", "tools.mock.engine", "--port=0", "--served-name=m", "--token-prompts"]
    law = ["--itl-base-ms=10", "--itl-per-seq-ms=0.2"]
    with subprocess.Popen([*command, *law], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        process.terminate()


@pytest.fixture
def client(tmp_path: Path) -> Path:
    made = tmp_path / "closed_loop"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    command = [str(find_go(print)), "build", "-buildvcs=false", "-o", str(made), "."]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True)
    return made


def loop(url: str, out: Path, *options: str) -> dict[str, Any]:
    asked = ("--levels=8", "--repeat=1", "--seconds=4", "--requests=20", "--input=32", "--output=40")
    command = [sys.executable, "-m", "benchmarks.gpu.truth", url, str(out), *asked, *options]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    (level,) = json.loads(out.read_text())["levels"]
    return level


def test_both_clients_measure_one_engine_alike(engine: str, client: Path, tmp_path: Path) -> None:
    python = loop(engine, tmp_path / "python.json", "--processes", "2")
    compiled = [
        loop(engine, tmp_path / f"{len(more)}.json", "--client", str(client), *more)
        for more in ((), ("--fresh",))
    ]
    for level in (python, *compiled):
        assert level["errors"] == 0
        assert level["steady"]
        assert level["tokens_per_event"] == pytest.approx(1.0, abs=0.02)
    for level in compiled:
        rates = [one["output_tokens_per_second"]["server"] for one in (level, python)]
        assert rates[0] == pytest.approx(rates[1], rel=0.1)
        assert level["tpot_ms"]["p50"] == pytest.approx(python["tpot_ms"]["p50"], rel=0.1)
        assert level["ttft_ms"]["p50"] == pytest.approx(python["ttft_ms"]["p50"], rel=0.5)
