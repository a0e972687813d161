"""The images for GPUs, as far as they are built without a registry and hours of compiling: on a stand-in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.images import __main__ as images, buildah, catalog

pytestmark = pytest.mark.timeout(900)

INSTALLED = """
import importlib.metadata as packages, sys
for name in ("vllm-bnb-plugin", "vllm-gguf-plugin", "bitsandbytes", "gguf"):
    print(name, packages.version(name))
entries = {entry.name for entry in packages.entry_points(group="vllm.general_plugins")}
assert len(entries) >= 2, entries
"""


class Building:
    """Builds images of this test alone, with what the images of every build stand on as the base."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0
        self.base = images.base_reference()
        self.references: list[str] = []

    def context(self) -> Path:
        self._made += 1
        made = self._folder / str(self._made)
        made.mkdir()
        return made

    def build(self, context: Path, dockerfile: str, base: str) -> str:
        """Without a network."""
        file = context.with_suffix(".dockerfile")
        file.write_text(dockerfile)
        reference = f"{catalog.REPOSITORY}/stand-in:{os.getpid()}-{self._made}"
        buildah.build(context, file, base, reference, offline=True)
        self.references.append(reference)
        return reference

    def runs(self, image: str, command: str) -> None:
        """As the image's own user, and what it prints is in the report of a failed build."""
        self.build(self.context(), f"ARG BASE\nFROM ${{BASE}}\nRUN {command}\n", image)


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    found = Building(tmp_path)
    yield found
    for reference in reversed(found.references):
        buildah.remove(reference)


def test_vllms_plugins_are_put_upon_a_base(building: Building) -> None:
    context = building.context()
    catalog.stage_engine("vllm", context)
    made = building.build(context, (catalog.RUNTIME / "Dockerfile.vllm").read_text(), building.base)
    check = building.context() / "check.py"
    check.write_text(INSTALLED)
    building.build(check.parent, "ARG BASE\nFROM ${BASE}\nCOPY check.py /\nRUN python3 /check.py\n", made)


def test_what_stands_on_llama_cpp_compiled_with_cuda_stands_on_that_for_cpus(building: Building) -> None:
    """The launcher and all that the image sets, with the engine's layer of the image for CPUs."""
    context = building.context()
    catalog.stage_engine("llamacpp", context)
    compiled, launcher, rest = (
        (catalog.RUNTIME / "Dockerfile.llamacpp-cuda").read_text().partition("FROM ${BASE} AS launcher")
    )
    assert "XLLAMACPP_BUILD_CUDA=1" in compiled
    plain, _, _ = (catalog.RUNTIME / "Dockerfile.llamacpp").read_text().partition("FROM engine AS launcher")
    made = building.build(context, plain + launcher + rest, building.base)
    building.runs(made, "llama-server --help >/tmp/help && grep -q ctx-size /tmp/help")
    building.runs(made, 'test "$(id -u) $CUDA_VERSION" = "10001 13.0"')
