"""docs/operate/air-gapped.md: what a cluster without the internet needs, from the engines' own tables.

python -m tools.air_gapped prints the references of all images, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tacho_contract import __version__
from tacho_engines.profile import EngineProfile
from tacho_engines.registry import engine_profiles, presets
from tools.pages import ROOT, table

PAGE = ROOT / "docs/operate/air-gapped.md"
TEXT = Path(__file__).with_name("texts") / "air_gapped.md.in"


@dataclass(frozen=True, slots=True)
class MirroredImage:
    """An image that nodes pull."""

    reference: str
    setting: str
    purpose: str

    @property
    def row(self) -> tuple[str, str, str]:
        return (f"`{self.reference}`", f"`{self.setting}`", self.purpose)


def images() -> Iterator[MirroredImage]:
    """Every image that the operator may put into a pod, and its own."""
    yield MirroredImage(f"tacho:{__version__}", "image", "operator, inspection, download, runtime; always")
    for profile in engine_profiles():
        yield from _engine(profile)
    for preset in presets().values():
        if preset.profile.image.reference:
            purpose = f"`engine.custom.preset: {preset.name}`"
            yield MirroredImage(preset.profile.image.reference, "spec.engine.image", purpose)


def _engine(profile: EngineProfile) -> Iterator[MirroredImage]:
    setting = f"engineImages.{profile.image_settings[0]}"
    host = profile.build_for(on_host=True)
    where = "" if host is profile else " on GPUs"
    if profile.image.reference:
        yield MirroredImage(_tagged(profile), setting, f"{profile.name}{where}")
    if profile.plugins.reference:
        methods = ", ".join(profile.plugins.methods)
        yield MirroredImage(profile.plugins.reference, setting, f"{profile.name} with {methods}")
    if host is not profile:
        yield MirroredImage(
            _tagged(host), f"engineImages.{profile.image_settings[-1]}", f"{profile.name} on CPUs"
        )


def _tagged(profile: EngineProfile) -> str:
    """Images of this project's own have the engine's version as their tag where they are pushed."""
    reference = profile.image.reference
    return reference if ":" in reference else f"{reference}:{profile.image.version}"


def page() -> str:
    """The page, as Markdown."""
    versions = {profile.name: profile.image.version for profile in engine_profiles()}
    rows = table(("image", "chart value or field", "needed for"), (image.row for image in images()))
    return TEXT.read_text().format(rows=rows, vllm=versions["vllm"], llamacpp=versions["llamacpp"])


if __name__ == "__main__":
    for image in images():
        print(image.reference)
