"""What the lists of a version's wheel say of architectures and switches, before vLLM itself does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.planner.models import LLAMA_IN_Q4_0, facts
from benchmarks.planner.placements import placement
from tacho_engines.vllm.compatibility import REMOVED
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.recorded import recorded, warnings
from tests.engines.vllm_architectures import architectures
from tools.mock.published import CONFIGS

FIXTURES = Path(__file__).parents[2] / "fixtures" / "vllm"
FOO = dataclasses.replace(
    facts("llama-3.1-8b"),
    architecture=dataclasses.replace(facts("llama-3.1-8b").architecture, name="FooForCausalLM"),
)


def test_the_lists_are_of_the_default_version() -> None:
    """A new default version needs new lists: the modules that write them say how."""
    text = (FIXTURES / f"options-{PROFILE.image.version}.txt").read_text()
    assert recorded("switches") == set(text.split())
    assert len(recorded("architectures")) > 300
    assert not {name for names in REMOVED.values() for name in names} & recorded("architectures")


def test_every_published_model_is_of_an_architecture_in_the_registry() -> None:
    for config, *_ in CONFIGS.values():
        assert set(config["architectures"]) <= recorded("architectures")


def test_an_architecture_that_is_not_in_the_registry_is_a_warning() -> None:
    assert warnings(placement("vllm", FOO, "none")) == (
        "FooForCausalLM is not in vLLM 0.32.0's registry: it runs by Transformers' code or not at all.",
    )
    assert warnings(placement("vllm", "llama-3.1-8b", "none")) == ()
    assert warnings(placement("vllm", LLAMA_IN_Q4_0, "gguf")) == (), "GGUF has names of its own"


@pytest.mark.parametrize("version", ["0.26.0", "0.33.0", ""])
def test_nothing_is_said_of_versions_whose_wheel_was_not_read(version: str) -> None:
    assert warnings(placement("vllm", FOO, "none", version=version, arguments=("--no-such-flag",))) == ()


@pytest.mark.parametrize(
    ("image", "own", "said"),
    [
        ("vllm/vllm-openai:latest", True, False),
        ("vllm/vllm-openai:v0.32.0", True, True),
        ("registry/mirror:latest", False, True),
    ],
)
def test_nothing_is_said_of_an_image_whose_version_is_assumed(image: str, own: bool, said: bool) -> None:
    """An operator's setting is of the default version; an image in spec without one may be of any."""
    found = warnings(placement("vllm", FOO, "none", image=image, own_image=own))
    assert bool(found) is said


def test_a_switch_that_the_version_does_not_have_is_a_warning() -> None:
    given = ("--no-such-flag", "--max-num-seqs=8", "--max_model_lenght", "4096", "--data-parallel-siz=2")
    (warning,) = warnings(placement("vllm", "llama-3.1-8b", "none", arguments=given))
    named = (
        "--no-such-flag, --max-model-lenght, --data-parallel-siz: it refuses unknown and ambiguous switches"
    )
    assert f"vLLM 0.32.0 has no {named}" in warning


@pytest.mark.parametrize(
    "given",
    [
        ("--enforce-eager",),
        ("--no-enable-prefix-caching",),
        ("--gpu-mem=0.8",),
        ("-O3",),
        ("-tp", "2"),
        ("--compilation-config.mode", "3"),
        ("--max_num_seqs", "8"),
    ],
)
def test_switches_that_the_version_reads_are_none(given: tuple[str, ...]) -> None:
    assert warnings(placement("vllm", "llama-3.1-8b", "none", arguments=given)) == ()


def test_the_registry_is_read_from_its_sources(tmp_path: Path) -> None:
    folder = tmp_path / "model_executor" / "models"
    folder.mkdir(parents=True)
    (folder / "registry.py").write_text(
        '_A = {"AForCausalLM": ("a", "A")}\n_B = {"BModel": ("b", "B")}\n_OTHER = {"C": ""}\n'
        "_VLLM_MODELS = {**_A, **_B}\n"
    )
    assert architectures(tmp_path) == ["AForCausalLM", "BModel"]
