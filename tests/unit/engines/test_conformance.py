"""Every registered engine is what an engine has to be."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

import pytest

import tacho_contract
import tacho_engines
from benchmarks.planner.placements import host, placement
from tacho_engines.base import Context, EngineRefusal
from tacho_engines.hardware.device import Device
from tacho_engines.registry import ENGINES, engine_profile, planner_adapter, runtime_adapter

ROOM = Path(tacho_engines.__file__).parent
FORMATS = ("safetensors", "pytorch", "gguf", "ct2", "custom", "mistral-native")
PREDICTED = tuple(name for name in ENGINES if engine_profile(name).predicted)
CONTEXT = Context(2048, 2)


def of(engine: str, device: Device | str = "L4", **more):
    """A placement of the engine's first method."""
    return placement(engine, "llama-3.1-8b", engine_profile(engine).methods[0].method, device, **more)


def test_the_registry_names_every_folder_that_has_a_half():
    folders = {path.parent.name for side in ("plan", "run") for path in ROOM.glob(f"*/{side}.py")}
    assert folders == set(ENGINES)
    assert {path.parent.name for path in ROOM.glob("*/run.py")} == set(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_a_half_of_the_run_has_the_name_of_its_folder(name):
    assert runtime_adapter(name).name == name


@pytest.mark.parametrize("name", ENGINES)
def test_a_row_is_complete(name):
    row = engine_profile(name)
    assert (row.name, bool(row.title), bool(row.devices)) == (name, True, True)
    assert set(row.formats) <= set(FORMATS)
    assert row.predicted is bool(row.methods)
    assert bool(row.image.reference and row.image.version and row.image.entrypoint) is row.predicted
    assert set(row.plugins.methods) <= {method.method for method in row.methods}
    assert not row.local.package or row.local.entrypoint


@pytest.mark.parametrize(
    ("name", "device"),
    [
        (name, device)
        for name in PREDICTED
        for device in ("L4", host(2**36), host())
        if isinstance(device, str) or "cpu" in engine_profile(name).devices
    ],
    ids=str,
)
def test_an_account_adds_up(name, device):
    count = 1 if isinstance(device, str) else 0
    found = planner_adapter(name).account(of(name, device, count=count), CONTEXT)
    assert found is not None
    figures = dataclasses.asdict(found)
    assert all(value is None or isinstance(value, str) or value >= 0 for value in figures.values())
    assert found.fixed_bytes > found.weights_bytes > 0
    assert found.request_bytes > 0
    assert found.total_bytes >= found.weights_bytes + found.cache_bytes
    assert (found.budget_bytes is None) is (device == host())
    assert planner_adapter(name).cache_element_bytes(of(name, device, count=count)) > 0


@pytest.mark.parametrize("name", PREDICTED)
def test_a_format_that_the_row_does_not_name_is_refused(name):
    row = engine_profile(name)
    foreign = next(form for form in FORMATS if form not in row.formats)
    asked = of(name)
    found = planner_adapter(name).refusal(
        dataclasses.replace(asked, facts=dataclasses.replace(asked.facts, format=foreign))
    )
    assert isinstance(found, EngineRefusal)
    assert found.failure_class == "UnsupportedQuantization"


def test_flags_and_figures_come_from_the_same_settings():
    """A concurrency above the scheduler's default: the account has as many rows as the flag asks for."""
    adapter, asked = planner_adapter("vllm"), of("vllm", "H200", version="0.11.0")
    words = adapter.arguments(asked, Context(1024, 3000))
    assert words[words.index("--max-num-seqs") + 1] == "3000"
    told = dataclasses.replace(asked, options=dataclasses.replace(asked.options, arguments=words))
    assert adapter.arguments(told, Context(1024, 3000)) == ()
    assert adapter.account(told, Context(1024, 3000)) == adapter.account(asked, Context(1024, 3000))


def test_what_the_zipapp_carries_needs_the_standard_library_only():
    allowed = {*sys.stdlib_module_names, "tacho_contract", "tacho_engines"}
    for package in (tacho_contract, tacho_engines):
        for path in Path(package.__file__).parent.rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
            for node in ast.walk(tree):
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    found = [node.module or ""]
                assert {name.split(".")[0] for name in found} <= allowed, path


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("vllm", "sk-a\n", "sk-a"),
        ("vllm", "sk-a,b", "sk-a,b"),
        ("llamacpp", "sk-a, sk-b\n", "sk-a"),
        ("llamacpp", ", sk-b", "sk-b"),
        ("llamacpp", "", ""),
    ],
)
def test_a_key_is_one_that_the_engine_takes(name, text, key):
    """A Secret often ends with a line's end, and llama.cpp takes several keys."""
    adapter = runtime_adapter(name)
    assert adapter.api_key(None, {adapter.key_variable: text}) == key
