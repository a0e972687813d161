"""No plan gives vLLM a switch that its version does not have; the lists are read from its wheels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engines.vllm_lines import lines

FIXTURES = Path(__file__).parents[2] / "fixtures" / "vllm"


@pytest.mark.parametrize("version", ["0.26.0", "0.32.0"])
def test_every_switch_of_a_plan_is_one_of_that_version(version: str) -> None:
    known = set((FIXTURES / f"options-{version}.txt").read_text().split())
    words = {word.partition("=")[0] for line in lines(version) for word in line if word.startswith("--")}
    assert ("--compilation-config.cudagraph_capture_sizes" in words) == (version == "0.32.0")
    used = {word.partition(".")[0] for word in words}  # the rest is a field of the switch's value
    assert {"--kv-cache-memory-bytes", "--enforce-eager", "--quantization", "--tensor-parallel-size"} <= used
    assert used <= known


def test_the_host_is_given_a_cache_of_whole_blocks_and_one_more() -> None:
    told = [line for line in lines("0.32.0") if "--enforce-eager" in line]
    sizes = {line[line.index("--kv-cache-memory-bytes") + 1] for line in told}
    block = 128 * 12288  # Qwen2.5-0.5B: 24 layers x 2 heads x 2 x 64 x 2 bytes a token
    assert sizes - {"1000000000"} == {
        str(block * (count * -(-length // 128) + 1)) for length, count in ((256, 1), (8192, 16), (1024, 3000))
    }
