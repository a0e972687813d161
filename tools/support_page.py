"""Tables of docs/use/choose.md: engines, weight formats and GPUs, and what of them ran.

What is planned is what the engines' own adapters do not refuse, for a model of 8 billion parameters and every
GPU of the table, whatever its memory. What ran is read from recorded statuses and starts.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_contract.model import ModelFacts
from tacho_engines.hardware.gpu_table import GPUS, GpuProduct
from tacho_engines.registry import engine_profile, planner_adapter
from tools.pages import ROOT, between_markers, table

PAGE = ROOT / "docs/use/choose.md"
RAN, PLANNED, REFUSED = "**ran**", "planned", "-"
CPU = "CPU"
GROUPS = {
    "7.0": ("7.0",),
    "7.5": ("7.5",),
    "8.0, 8.6": ("8.0", "8.6"),
    "8.9": ("8.9",),
    "9.0": ("9.0",),
    "10.0 to 12.0": ("10.0", "10.3", "12.0"),
}
"""Columns of the matrix, by the compute capabilities that they have."""
MODEL = "llama-3.1-8b"


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """A row of the matrix: weights of one format, and the method that serves them."""

    engine: str
    method: str
    title: str
    model: str = MODEL
    """The checkpoint that is planned."""
    stored: tuple[str, str] = ("", "")
    """The checkpoint's own method and scheme, if it is none of the planner's models."""
    named: str = ""
    """What the name of a recorded model has in it; "": nothing that another row of the method names."""

    @property
    def facts(self) -> ModelFacts:
        found = facts(self.model)
        method, scheme = self.stored
        if not method:
            return found
        changed = dataclasses.replace(found.quantization, method=method, scheme=scheme)
        return dataclasses.replace(found, quantization=changed)


FORMATS = (
    Format("vllm", "none", "16 bits"),
    Format("vllm", "none", "MXFP4 checkpoint", "gpt-oss-20b", named="gpt-oss"),
    Format("vllm", "none", "NVFP4 checkpoint (ModelOpt)", stored=("modelopt", "NVFP4"), named="nvfp4"),
    Format("vllm", "fp8", "FP8, also made from 16 bits"),
    Format("vllm", "compressed-tensors", "compressed-tensors, W4A16", f"{MODEL}-w4a16", named="w4a16"),
    Format("vllm", "compressed-tensors", "compressed-tensors, W8A8 in INT8", f"{MODEL}-w8a8", named="w8a8"),
    Format("vllm", "awq", "AWQ checkpoint", f"{MODEL}-awq"),
    Format("vllm", "gptq", "GPTQ checkpoint", f"{MODEL}-gptq"),
    Format("vllm", "bnb-nf4", "NF4, also made from 16 bits"),
    Format("vllm", "bnb-fp4", "FP4 checkpoint (bitsandbytes)", f"{MODEL}-bnb-nf4", ("bitsandbytes", "fp4")),
    Format("vllm", "bnb-int8", "int8 checkpoint (bitsandbytes)", f"{MODEL}-bnb-int8"),
    Format("vllm", "gguf", "GGUF with `config.json` and tokenizer", f"{MODEL}-q4_0"),
    Format("transformers", "none", "16 bits"),
    Format("transformers", "bnb-int8", "int8 (bitsandbytes)"),
    Format("transformers", "bnb-nf4", "NF4"),
    Format("transformers", "bnb-fp4", "FP4"),
    Format("llamacpp", "gguf", "GGUF", f"{MODEL}-q4_0"),
    Format("ctranslate2", "none", "16 bits, converted"),
    Format("ctranslate2", "ct2-int8", "int8, converted"),
    Format("ctranslate2", "ct2-int8-float16", "int8 and 16 bits, converted"),
)
ON_CPUS: Mapping[tuple[str, str], str] = {
    ("vllm", "none"): "tests/engines/test_vllm.py",
    **{("transformers", name): "tests/engines/test_transformers.py" for name in ("none", "bnb-int8")},
    **{("transformers", name): "tests/engines/test_transformers.py" for name in ("bnb-nf4", "bnb-fp4")},
    ("llamacpp", "gguf"): "benchmarks/demo/llamacpp.txt",
    ("ctranslate2", "ct2-int8"): "tests/engines/test_ctranslate2.py",
}
"""What runs on CPUs, by the test that starts it or the run that is recorded."""


class Run(NamedTuple):
    """An engine that served a format; ``by_tacho``: it was started, and measured, by tacho."""

    engine: str
    method: str
    model: str
    product: str
    version: str
    by_tacho: bool
    source: str


def _statuses() -> Iterator[Run]:
    for path in sorted(ROOT.glob("benchmarks/**/*.yaml")):
        if "\n  measurements:" not in (text := path.read_text(encoding="utf-8")):
            continue
        found = yaml.load(text, yaml.CSafeLoader)
        for one in found["status"]["measurements"]:
            if not (seen := one.get("environment", {})).get("gpuProduct"):
                continue
            version = seen.get("engineVersion") or found["status"]["plan"]["engine"]["version"]
            method, model = one["quantizationMethod"], found["spec"]["model"]["uri"]
            source = str(path.relative_to(ROOT))
            yield Run(one["engine"], method, model, seen["gpuProduct"], version, True, source)


def _starts() -> Iterator[Run]:
    """Of engines that ran by their own command, with the switches of a plan or others."""
    for path in sorted(ROOT.glob("benchmarks/planner/h?00/starts.json")):
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            if row.get("started", True):
                where = row["source"].split()[0]
                method, model = row["method"], row["model"]
                yield Run(row["engine"], method, model, row["gpu"], row["version"], False, where)


@functools.cache
def runs() -> tuple[Run, ...]:
    """All recorded runs on GPUs; those by tacho first."""
    return (*_statuses(), *_starts())


def ran(row: Format, products: Iterable[str]) -> list[Run]:
    """The runs of a row on these products."""
    wanted = {*products}
    others = [other.named for other in FORMATS if (other.engine, other.method) == (row.engine, row.method)]
    return [
        run
        for run in runs()
        if (run.engine, run.method) == (row.engine, row.method)
        and run.product in wanted
        and (row.named in run.model if row.named else not any(one and one in run.model for one in others))
    ]


def planned(row: Format, product: str) -> bool:
    """Whether the engine's adapter refuses the format on a GPU, or on the host, for no other reason than
    memory."""
    profile = engine_profile(row.engine)
    image = profile.plugins.reference if row.method in profile.plugins.methods else ""
    on_host = product == CPU
    device, count = (host(), 0) if on_host else (product, 1)
    asked = placement(row.engine, row.facts, row.method, device, count=count, image=image)
    return planner_adapter(row.engine).refusal(asked) is None


def verdict(row: Format, products: tuple[str, ...]) -> str:
    """The cell of a row; raises ValueError if not all of the products have the same."""
    if products == (CPU,):
        if (row.engine, row.method) in ON_CPUS and not row.named:
            return RAN
    elif ran(row, products):
        return RAN
    found = {planned(row, product) for product in products}
    if len(found) > 1:
        raise ValueError(f"{row}: {products} are not alike")
    return PLANNED if found.pop() else REFUSED


def columns() -> dict[str, tuple[str, ...]]:
    """Products by column."""
    found = {title: tuple(gpu.label for gpu in GPUS if gpu.compute in of) for title, of in GROUPS.items()}
    return {**found, CPU: (CPU,)}


def matrix() -> str:
    groups = columns()
    rows = (
        (f"`{row.engine}`", row.title, f"`{row.method}`", *(verdict(row, of) for of in groups.values()))
        for row in FORMATS
    )
    return table(("engine", "weights", "`quantization.method`", *groups), rows)


def _link(text: str, path: str) -> str:
    return f"[{text}](../../{path})"


def _best(found: list[Run]) -> dict[str, Run]:
    """By version, newest first, a run that shows it: one by tacho if there is any."""
    best: dict[str, Run] = {}
    for run in sorted(found, key=lambda run: (_newest_first(run.version), not run.by_tacho)):
        best.setdefault(run.version, run)
    return best


def _newest_first(version: str) -> list[int]:
    return [-int(part) for part in version.split(".")]


def _shown(found: list[Run]) -> str:
    """Versions with their sources; a star at those that ran without tacho only."""
    return ", ".join(
        _link(version, run.source) + ("" if run.by_tacho else "\\*") for version, run in _best(found).items()
    )


def recorded() -> str:
    """Rows of what ran, with versions and where it is recorded."""
    products = sorted({run.product for run in runs()}, reverse=True)
    rows = []
    for row in FORMATS:
        cells = [_shown(ran(row, (product,))) for product in products]
        source = "" if row.named else ON_CPUS.get((row.engine, row.method), "")
        version = engine_profile(row.engine).build_for(on_host=True).image.version
        cells.append(_link(version, source) if source else "")
        if any(cells):
            rows.append((f"`{row.engine}`", row.title, *cells))
    short = {gpu.label: gpu.short[0] for gpu in GPUS}
    return table(("engine", "weights", *(short[product] for product in products), CPU), rows)


def _named(gpu: GpuProduct) -> str:
    return f"`{gpu.label}` {gpu.memory_mib[0] / 1024:.0f}"


def gpus() -> str:
    """A row of the table for each compute capability."""
    ordered = sorted(GPUS, key=lambda gpu: [int(part) for part in gpu.compute.split(".")])
    rows = [
        (compute, ", ".join(map(_named, sorted(same, key=lambda gpu: gpu.memory_mib[0]))))
        for compute, same in itertools.groupby(ordered, key=lambda gpu: gpu.compute)
    ]
    return table(("compute capability", f"{len(GPUS)} products with their memory in GiB"), rows)


def page() -> str:
    tables = {"matrix": matrix(), "recorded": recorded(), "gpus": gpus()}
    return between_markers(PAGE.read_text(encoding="utf-8"), "python -m tools.generate", tables)
