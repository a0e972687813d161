"""docs/use/choose.md: its tables of engines, formats and GPUs say what the planner and the records say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.registry import engine_profiles
from tools import support_page
from tools.support_page import CPU, FORMATS, ON_CPUS, PAGE, PLANNED, RAN, REFUSED, Format, verdict

ROOT = Path(__file__).parents[2]
CLI = ROOT / "docs/reference/cli.md"


def row(engine: str, method: str, named: str = "") -> Format:
    (found,) = (one for one in FORMATS if (one.engine, one.method, one.named) == (engine, method, named))
    return found


def test_the_page_is_generated() -> None:
    assert support_page.page() == PAGE.read_text(encoding="utf-8"), "run make generate"


def test_every_method_of_every_engine_has_a_row() -> None:
    every = {(profile.name, one.method) for profile in engine_profiles() for one in profile.methods}
    assert {(one.engine, one.method) for one in FORMATS} == every


def test_every_gpu_is_in_one_column_and_in_the_list() -> None:
    shown = [label for products in support_page.columns().values() for label in products if label != CPU]
    assert sorted(shown) == sorted(gpu.label for gpu in GPUS)
    assert set(re.findall(r"`([^`]+)` \d", support_page.gpus())) == set(shown)


@pytest.mark.parametrize(
    ("one", "products", "expected"),
    [
        (row("vllm", "none"), ("NVIDIA-H200",), RAN),
        (row("vllm", "none"), ("Tesla-T4",), PLANNED),
        (row("vllm", "none"), ("Tesla-V100-SXM2-16GB",), REFUSED),
        (row("vllm", "none", "gpt-oss"), ("Tesla-T4",), REFUSED),
        (row("vllm", "none", "gpt-oss"), (CPU,), REFUSED),
        (row("vllm", "gguf"), ("NVIDIA-H200",), PLANNED),
        (row("vllm", "gguf"), ("NVIDIA-H100-80GB-HBM3",), RAN),
        (row("vllm", "compressed-tensors", "w8a8"), ("NVIDIA-B200",), REFUSED),
        (row("llamacpp", "gguf"), (CPU,), RAN),
    ],
    ids=str,
)
def test_a_cell_says_what_is_recorded_planned_or_refused(
    one: Format, products: tuple[str, ...], expected: str
) -> None:
    assert verdict(one, products) == expected


def test_a_column_of_gpus_that_differ_is_refused() -> None:
    with pytest.raises(ValueError, match="not alike"):
        verdict(row("vllm", "none"), ("Tesla-V100-SXM2-16GB", "Tesla-T4"))


def test_what_ran_was_recorded_and_is_not_refused() -> None:
    assert all((ROOT / run.source).is_file() for run in support_page.runs())
    for one in FORMATS:
        products = {run.product for run in support_page.ran(one, (gpu.label for gpu in GPUS))}
        assert all(support_page.planned(one, product) for product in products)
    assert all(support_page.planned(row(*key), CPU) for key in ON_CPUS)
    assert all((ROOT / source).is_file() for source in ON_CPUS.values())


def test_the_refusal_and_the_manifest_are_those_of_the_command_line() -> None:
    page, cli = PAGE.read_text(encoding="utf-8"), CLI.read_text(encoding="utf-8")
    (shown,) = re.findall(r"```console\n(.*?)```", page, re.S)
    assert shown in cli
    ours, theirs = (yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.S)[0]) for text in (page, cli))
    del theirs["spec"]["gpu"]
    assert ours == theirs
