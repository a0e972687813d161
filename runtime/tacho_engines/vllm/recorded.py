"""Warnings from what a version's wheel names: its architectures and its switches.

The lists are of the default version alone; of other versions nothing is said.
``tests/engines/vllm_options.py`` and ``vllm_architectures.py`` wrote them from the wheel's sources.
"""

from __future__ import annotations

from functools import cache
from pkgutil import get_data

from tacho_engines.base import Placement
from tacho_engines.shared.images import image_version, version_key
from tacho_engines.shared.switches import SHORTEST_ABBREVIATION, parse_arguments
from tacho_engines.vllm.profile import PROFILE

NEGATED, PARTED = "no-", "."
"""A switch is negated by this prefix. A part of a JSON value follows this sign: --compilation-config.mode."""


@cache
def recorded(name: str) -> frozenset[str]:
    """The lines of ``name-VERSION.txt`` beside this file, for the default version."""
    data = get_data(__package__, f"{name}-{PROFILE.image.version}.txt")
    assert data is not None, "shipped with this package"
    return frozenset(data.decode().split())


def warnings(placement: Placement) -> tuple[str, ...]:
    """One sentence for an architecture, and one for each switch, that the version does not have."""
    version = PROFILE.image.version
    assumed = placement.options.own_image and not image_version(PROFILE, placement.image)
    if assumed or version_key(placement.version) != version_key(version):
        return ()
    name = placement.architecture.name
    found = []
    if name and placement.facts.format != "gguf" and name not in recorded("architectures"):
        found.append(
            f"{name} is not in vLLM {version}'s registry: it runs by Transformers' code or not at all."
        )
    unknown = [f"--{switch}" for switch in parse_arguments(placement.options.arguments) if not _known(switch)]
    if unknown:
        found.append(f"vLLM {version} has no {', '.join(unknown)}: it refuses unknown switches at its start.")
    return tuple(found)


def _known(switch: str) -> bool:
    """Whether a switch is one of the version's, abbreviated, negated or short."""
    name = switch.partition(PARTED)[0].removeprefix(NEGATED)
    if len(name) < SHORTEST_ABBREVIATION or switch[0].isupper():
        return True
    known = {item.lstrip("-") for item in recorded("switches")}
    return any(item.removeprefix(NEGATED).startswith(name) for item in known)
