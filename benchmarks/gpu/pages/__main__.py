"""Writes the pages of benchmarks/lab that come from the raw data of the H200 and the H100s.

    python -m benchmarks.gpu.pages [--check]

With --check it says which page has drifted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.pages import (
    articles,
    h100,
    h100_alone,
    h100_goals,
    h100_newest,
    h100_pods,
    h200_fp8,
    h200_front_ends,
    h200_goals,
    h200_graphs,
    h200_graphs_newest,
    h200_newest,
    h200_newest_dense,
    h200_newest_experts,
    h200_newest_four,
    h200_newest_pods,
    h200_newest_quantized,
    h200_newest_unseen,
    later_pods,
    matrix,
    outstanding,
    probe,
)
from benchmarks.gpu.pages.recorded import RESULTS, fill
from tools.pages import settle


def rendered() -> dict[Path, str]:
    """Every page and picture, by its place."""
    pages = {
        RESULTS / "h200/README.md": later_pods.page(),
        RESULTS / "h100/README.md": h100.page(),
        RESULTS / "h100/gguf.md": h100_alone.gguf(),
        RESULTS / "h100/pods.md": h100_pods.page(),
        RESULTS / "h100/goals.md": h100_goals.page(),
        RESULTS / "h100/vllm-0.32.md": h100_newest.page(),
        RESULTS / "h200/goals.md": h200_goals.page(),
        RESULTS / "h200/vllm-0.32.md": h200_newest.page(),
        RESULTS / "h200/vllm-0.32-experts.md": h200_newest_experts.page(),
        RESULTS / "h200/vllm-0.32-unseen.md": h200_newest_unseen.page(),
        RESULTS / "h200/vllm-0.32-four.md": h200_newest_four.page(),
        RESULTS / "h200/vllm-0.32-pods.md": h200_newest_pods.page(),
        RESULTS / "h200/front-ends.md": h200_front_ends.page(),
        RESULTS / "h200/graphs.md": h200_graphs.page(),
        RESULTS / "h200/vllm-0.32-graphs.md": h200_graphs_newest.page(),
        RESULTS / "h200/vllm-0.32-dense.md": h200_newest_dense.page(),
        RESULTS / "h200/vllm-0.32-fp8.md": h200_fp8.page(),
        RESULTS / "h200/vllm-0.32-quantized.md": h200_newest_quantized.page(),
        RESULTS / "h200/probe.md": fill("h200_probe", levels=probe.page(probe.H200)),
        RESULTS / "h200/matrix.md": matrix.page(),
        RESULTS / "h200/outstanding.md": outstanding.page(),
        RESULTS / "articles/README.md": articles.page(),
    }
    return pages | {RESULTS / "articles" / name: text for name, text in articles.pictures().items()}


def main(arguments: Sequence[str]) -> int:
    return settle(rendered(), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
