"""The long loops that a probe is held against: their figures from stamps, on a loop that is known exactly."""

from __future__ import annotations

import argparse
import io
import itertools
import json
from pathlib import Path

import pytest

from benchmarks.gpu import truth
from benchmarks.gpu.models import tokenizer
from benchmarks.gpu.truth import Answer, quantile, summary

RAW = sorted((Path(__file__).parents[2] / "benchmarks/gpu/h200/truth").glob("*.json"))
OPTIONS = argparse.Namespace(slo_ttft=0.15, slo_tpot=0.02)


def loop(streams: int, *, ttft: float, gap: float, tokens: int, seconds: float) -> list[Answer]:
    """Streams that send the next request when one ends, evenly shifted against each other."""
    service = ttft + gap * (tokens - 1)
    answers = []
    for stream in range(streams):
        sent = service * stream / streams
        while sent < seconds + service:
            stamps = [ttft + gap * index for index in range(tokens)]
            answers.append(
                Answer(
                    sent=sent,
                    first_token=sent + ttft,
                    last_token=sent + service,
                    tokens=tokens,
                    events=tokens,
                    stamps=stamps,
                    first_of_stream=sent < service,
                )
            )
            sent += service
    return answers


def test_a_known_loop_gives_its_own_figures() -> None:
    answers = loop(8, ttft=0.1, gap=0.01, tokens=101, seconds=60.0)
    window = (10.0, 50.0)
    produced = sum(window[0] <= a.sent + stamp < window[1] for a in answers for stamp in a.stamps)
    before, after = {"time": 10.0, "generation_tokens_total": 0.0}, {"time": 50.0}
    level = summary(8, answers, window, (before, {**after, "generation_tokens_total": produced}), [], OPTIONS)
    assert level["steady"]
    assert level["streams_by_littles_law"] == pytest.approx(8, rel=0.02)
    assert level["tpot_ms"]["p95"] == pytest.approx(10.0)
    assert level["ttft_ms"]["p50"] == pytest.approx(100.0)
    assert level["slo_attainment_percent"] == 100.0


def test_a_counter_that_counts_other_traffic_is_not_steady() -> None:
    answers = loop(8, ttft=0.1, gap=0.01, tokens=101, seconds=60.0)
    counters = (
        {"time": 10.0, "generation_tokens_total": 0.0},
        {"time": 50.0, "generation_tokens_total": 45_000.0},
    )
    assert not summary(8, answers, (10.0, 50.0), counters, [], OPTIONS)["steady"]


def test_the_nearest_rank() -> None:
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([], 0.5) is None


@pytest.mark.parametrize("path", RAW, ids=lambda path: path.stem)
def test_every_recorded_level_is_steady(path: Path) -> None:
    levels = json.loads(path.read_text())["levels"]
    assert levels
    for level in levels:
        assert abs(level["streams_by_littles_law"] / level["streams"] - 1) <= 0.03
        assert level["requests"] >= 200
        assert level["errors"] == 0


def test_every_token_but_the_special_ones_is_text() -> None:
    vocabulary = 128_256
    words = tokenizer(vocabulary)["model"]["vocab"]
    assert sorted(words.values()) == list(range(vocabulary))


@pytest.mark.parametrize("prefix", ["vllm:", "tacho_server_"])
def test_the_counter_of_each_of_our_engines_is_read(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{prefix}generation_tokens_total"
    text = f'# HELP {name} x\n{name}{{engine="0"}} 5.0\n{name} 2.0\n'
    monkeypatch.setattr(truth.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(text.encode()))
    assert truth.scrape("http://127.0.0.1:1")["generation_tokens_total"] == 7.0


def test_two_runs_of_one_server_send_no_prompt_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second file had the first's seed, and its prompts were in the engine's prefix cache."""
    seconds, seeds = itertools.count(1_800_000_000), list[int]()
    monkeypatch.setattr(truth.time, "time", lambda: float(next(seconds)))

    def measured(options: object, streams: int, service_seconds: float, seed: int) -> dict[str, object]:
        seeds.append(seed)
        return {"streams": streams, "end_to_end_ms": {"p50": 1000.0}}

    monkeypatch.setattr(truth, "measure", measured)
    monkeypatch.setattr(truth, "line", lambda level: "")
    for name in ("warm-up.json", "server.json"):
        monkeypatch.setattr(
            "sys.argv", ["truth", "http://127.0.0.1:1", str(tmp_path / name), "--levels", "8"]
        )
        assert truth.main() == 0
    written = [
        json.loads((tmp_path / name).read_text())["levels"] for name in ("warm-up.json", "server.json")
    ]
    assert [level["seed"] for levels in written for level in levels] == seeds
    assert len(set(seeds)) == len(seeds) == 4
