"""vLLM's benchmark beside the probe: what it is asked, and the server that is started for both."""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.gpu import beside
from tests.unit.test_gpu_matrix import BENCHMARKS
from tools.cluster.ports import free_port


def asked(**more: object) -> argparse.Namespace:
    plain = {
        "url": "http://127.0.0.1:1",
        "model": "m",
        "tokenizer": "T",
        "input": 512,
        "output": 200,
        "rounds": 3,
        "range_ratio": 0,
    }
    return argparse.Namespace(**{**plain, "engine_python": "/bin/false", **more})


def test_lengths_are_fixed_and_every_stream_asks_as_often() -> None:
    words = beside.bench_arguments(asked(), 16, "/folder")
    flags = dict(itertools.pairwise(words))
    assert flags["--num-prompts"] == "48"
    assert flags["--max-concurrency"] == "16"
    assert (flags["--random-input-len"], flags["--random-output-len"]) == ("512", "200")
    assert "--ignore-eos" in words
    assert flags["--random-range-ratio"] == "0"


def test_lengths_may_differ_so_that_streams_do_not_keep_step() -> None:
    words = beside.bench_arguments(asked(range_ratio=0.5), 16, "/folder")
    assert dict(itertools.pairwise(words))["--random-range-ratio"] == "0.5"


def test_a_benchmark_that_fails_is_told_and_the_next_level_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "generated", lambda _url: 0.0)
    monkeypatch.setattr(beside, "SETTLE_SECONDS", 0.0)
    assert beside.level(asked(), 4) == {"streams": 4, "exit_code": 1, "said": []}


def test_what_the_commands_of_the_readme_name_is_there() -> None:
    readme = (BENCHMARKS / "gpu" / "README.md").read_text()
    for name in ("session.sh", "truth.sh", "h200-next.yaml"):
        assert f"benchmarks/gpu/{name}" in readme
        assert Path(BENCHMARKS / "gpu" / name).exists()
    for name in ("flags/flags.json", "start/small-start.yaml", "edges", "batched"):
        assert f"h200/{name}" in readme
        assert Path(BENCHMARKS / "gpu/h200" / name).exists()


@pytest.mark.parametrize(
    ("words", "servers", "seconds"),
    [((), ["8b-bf16", "8b-fp8", "0.6b"], 900), (("450", "8b-bf16", "0.6b"), ["8b-bf16", "0.6b"], 450)],
)
def test_goals_are_those_of_the_servers_that_are_named_in_their_time(
    words: tuple[str, ...], servers: list[str], seconds: int, tmp_path: Path
) -> None:
    shutil.copy(BENCHMARKS / "gpu/goals.sh", tmp_path)
    (tmp_path / "truth.sh").write_text('echo "server=$2 seconds=$6"\n')
    script = ["bash", str(tmp_path / "goals.sh"), str(tmp_path / "out"), "models", *words]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert re.findall(r"server=(\S+) seconds=(\d+)", done.stdout) == [
        (name, str(seconds)) for name in servers
    ]


SERVER = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False


def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> argparse.Namespace:
    script = tmp_path / "serve.py"
    script.write_text(code)
    monkeypatch.setattr(beside, "VLLM", script)
    url = f"http://127.0.0.1:{free_port()}"
    return asked(
        url=url, out=tmp_path / "out.json", engine_python=sys.executable, serve=["--max-model-len", "8"]
    )


def test_a_server_of_its_own_is_there_meanwhile_and_gone_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = served(tmp_path, monkeypatch, SERVER)
    with beside.server(given):
        assert answers(given.url)
    assert not answers(given.url)


def test_a_server_that_ends_at_once_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = served(tmp_path, monkeypatch, "import sys; sys.exit('no GPU')")
    with pytest.raises(SystemExit, match="its log is beside"), beside.server(given):
        pass
    assert "no GPU" in (tmp_path / "out.log").read_text()


def test_somebody_elses_server_is_left_alone() -> None:
    with beside.server(asked(serve=None)):
        pass
