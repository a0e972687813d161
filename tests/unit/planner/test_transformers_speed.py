"""What a plan expects of Transformers beside what pods on H200s and an H100 gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.gpu.pages.recorded import ROOT
from benchmarks.planner.placements import placement
from tacho_contract.launch import ServiceLevel
from tacho_engines.base import Context
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_operator.core.planner.expected_speed import ExpectedSpeed, expected_speed
from tacho_operator.core.planner.speed import DecodeStep

FEWEST = 4
"""Requests of a level that says how fast it is."""


def recorded() -> Iterator[tuple[str, str, str, int, float]]:
    """Of an 8B: its file, method, GPU, streams, and output tokens per second."""
    for path in sorted(ROOT.glob("benchmarks/gpu/**/*.yaml")):
        if "transformers" not in str(path):
            continue
        document = yaml.safe_load(path.read_text())
        for entry in document.get("status", {}).get("measurements", ()):
            name = str(path.relative_to(ROOT))
            for level in entry["curve"]:
                if level["requests"] >= FEWEST and level["concurrency"] in (1, 14, 15, 16):
                    gpu = "NVIDIA-H100-80GB-HBM3" if "/h100/" in name else "H200"
                    speed = float(level["outputTokensPerSecond"])
                    yield name, entry["quantizationMethod"], gpu, level["concurrency"], speed


def expect(method: str, device: str, streams: int) -> ExpectedSpeed:
    found = placement("transformers", "llama-3.1-8b", method, device)
    step = DecodeStep(
        placement=found,
        weights_bytes=planner_adapter("transformers").account(found, Context(4096, 16)).read_bytes,
        key_value_bytes=2.0,
        input_tokens=512,
        output_tokens=64,
    )
    speed = engine_profile("transformers").speed
    expected = expected_speed(
        speed, step, concurrency=streams, slots=16, level=ServiceLevel(), front_ends=None
    )
    assert expected is not None
    return expected


def test_the_band_holds_in_nine_of_ten_levels() -> None:
    rows = list(recorded())
    far = []
    for name, method, device, streams, found in rows:
        expected = expect(method, device, streams)
        planned, within = expected.output_tokens_per_second, expected.output_within
        if streams == 1:
            planned, within = expected.decode_tokens_per_second, expected.decode_within
        print(f"{name} {method} {streams}: {planned:.1f} planned, {found:.1f} found, {found / planned:.2f}")
        if not 1 / (1 + within) <= found / planned <= 1 + within:
            far.append(name)
    assert len(rows) >= 30
    assert len(far) <= 0.1 * len(rows), far


@pytest.mark.parametrize(("method", "least"), [("bnb-int8", 3.0), ("bnb-nf4", 1.02)])
def test_bitsandbytes_is_slower_than_16_bits(method: str, least: float) -> None:
    plain, quantized = (expect(name, "H200", 1).decode_tokens_per_second for name in ("none", method))
    assert plain > least * quantized


def test_recorded_files_are_there() -> None:
    assert {Path(name).parts[2] for name, *_ in recorded()} == {"h100", "h200"}
