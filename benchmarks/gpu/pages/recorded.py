"""The raw data of the H200, and figures in rows."""

from __future__ import annotations

import functools
import json
import textwrap
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
RAW = ROOT / "benchmarks/gpu/h200"
RESULTS = ROOT / "benchmarks/lab"
TEXTS = Path(__file__).with_name("texts")
WIDTH = 118
FOLDERS = ("matrix", "two", "more", "later", "batched")
"""Runs of cells by `tacho run`, in their order."""
PODS = (
    *("vllm-bf16", "vllm-bnb-nf4", "vllm-w4a16", "transformers-bnb-nf4", "transformers-bnb-int8", "small"),
    *("front-ends", "one-front-end"),
)
"""Cells that served as pods, in their order."""
LATER_PODS = (
    *("llama-8b-bf16-cold", "llama-8b-fp8", "llama-8b-awq", "llama-8b-gptq", "llama-8b-w4a16"),
    *("llama-8b-bnb-nf4", "transformers-nf4"),
)
"""The same on a second host; its probe begins each level in the steady mix."""


def _of(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names.split())


ALONE_PODS = _of("alone", "llama-8b-gptq qwen2-5-7b transformers-nf4")
"""The same, with nothing beside them on their host."""
LONGER_PODS = _of("longer", "llama-8b-fp8 llama-8b-tp2 llama-8b-bnb-nf4 llama-8b-bnb-int8 qwen2-5-32b")
"""The same; their probe measures the capacity's level for longer. Those of ALONE_PODS are gone for these."""
KERNEL_PODS = _of("kernels", "llama-8b-fp8 moe-bf16 qwen2-5-32b-awq")
"""The same; each kernel that is compiled late is counted. Those of the former are gone for these, but for one
on whose host HTTP kept up."""
LOOP_PODS = _of(
    "loop", "gpt-oss-20b gpt-oss-20b-warm llama-8b-gptq qwen2-5-7b-nf4 qwen2-5-7b transformers-nf4"
)
"""The same on a slower host; one of them had long loops after its probe."""
CHECKED_PODS = _of("checked", "llama-8b-awq llama-8b-ct2 transformers-nf4 transformers-int8")
"""The same; after the probe most had long loops of the same streams."""
LOOPED_PODS = _of("looped", "gpt-oss-20b llama-8b-gptq llama-8b-fp8 llama-8b-ct2")
"""The same on a later host; all had shorter loops."""
REPEATED_PODS = _of("repeated", "transformers-nf4 qwen2-5-7b moe-bf16 front-ends llama-8b-w8a8")
"""The same on another host of that day."""
BUDGET_PODS = _of("budgets", "llama-8b-ct2 transformers-int8 gpt-oss-20b llama-8b-bnb-int8 moe-bf16")
"""The same on a later host, with budgets of their own and without loops."""
MIXED_PODS = (
    *(*LATER_PODS, *ALONE_PODS, *LONGER_PODS, *KERNEL_PODS, *LOOP_PODS, *CHECKED_PODS),
    *(*LOOPED_PODS, *REPEATED_PODS, *BUDGET_PODS),
)


@functools.cache
def resource(path: Path) -> dict[str, Any]:
    """A resource as `kubectl get -o yaml` or `tacho run` printed it."""
    found: dict[str, Any] = yaml.load(path.read_text(), yaml.CSafeLoader)
    return found


def status(path: Path) -> dict[str, Any]:
    """Of a resource."""
    found: dict[str, Any] = resource(path)["status"]
    return found


def measured(place: str) -> dict[str, Any]:
    """The first measurement of a cell by `tacho run`, such as ``more/phi-2``; else its start alone."""
    return measurement_of(RAW / f"{place}.yaml")


def pod(name: str) -> dict[str, Any]:
    """The same of a cell as a pod."""
    return measurement_of(RESULTS / f"h200/{name}/resource.yaml")


def measurement_of(path: Path) -> dict[str, Any]:
    """The first measurement of a resource, with the phases of its start."""
    found = status(path).get("measurements") or [{}]
    return {**found[0], "startup": status(path)["startup"]}


def places() -> list[str]:
    """Every cell that served by `tacho run`, in the order in which they ran."""
    return [
        f"{folder}/{cell['cell']}"
        for folder in FOLDERS
        for cell in read(f"{folder}/summary.json")["cells"]
        if cell["exit_code"] == 0
    ]


@functools.cache
def read(path: str | Path) -> Any:
    """A JSON file of the raw data; ``path`` is below those of the H200, or absolute."""
    return json.loads((RAW / path).read_text())


def fill(name: str, **figures: Any) -> str:
    """The text of texts/NAME.md.in with these figures, and with rows or sections at their places."""
    found = {
        key: figure if isinstance(figure, int | float) else "".join(figure).removesuffix("\n")
        for key, figure in figures.items()
    }
    return (TEXTS / f"{name}.md.in").read_text().format(**found)


def number(value: Any, digits: int = 0) -> str:
    return f"{float(value):,.{digits}f}"


def times(over: float, under: float) -> str:
    return f"{over / under:.2f}x" if over < 10 * under else f"{over / under:.0f}x"


def share(predicted: float, actual: float) -> str:
    return f"{100 * (predicted / actual - 1):+.2f} %"


def paragraph(text: str, indent: str = "") -> str:
    """Prose in lines of a page's width."""
    words = " ".join(text.split())
    filled = textwrap.fill(
        words,
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
    )
    return filled + "\n"


def bullets(*texts: str) -> str:
    return "".join(paragraph(text, "- ") for text in texts)


def row(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |\n"
