"""What a version's wheel names, its architectures and its switches: full names of the user's, and warnings.

The lists are of the default version alone; of other versions no warning is given.
``tests/engines/vllm_options.py`` and ``vllm_architectures.py`` wrote them from the wheel's sources.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pkgutil import get_data

from tacho_engines.base import Placement
from tacho_engines.shared.images import image_version, version_key
from tacho_engines.shared.switches import parse_arguments, split_switch
from tacho_engines.vllm.profile import PROFILE

NEGATED, PARTED = "--no-", "."
"""A switch is negated by this prefix. A part of a JSON value follows this sign: --compilation-config.mode."""
REMOVED_SWITCHES = ("--swap-space",)
"""Switches of earlier versions that the plan reads."""
SAME = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
    "-pcp": "--prefill-context-parallel-size",
    "-ep": "--enable-expert-parallel",
    "-asc": "--api-server-count",
    "-cc": "--compilation-config",
    "--device-memory-utilization": "--gpu-memory-utilization",
}
"""Other names of switches that the plan reads. Source: wheel 0.32.0, engine/arg_utils.py add_cli_args,
entrypoints/cli/serve.py."""


@cache
def recorded(name: str) -> frozenset[str]:
    """The lines of ``name-VERSION.txt`` beside this file, for the default version."""
    data = get_data(__package__, f"{name}-{PROFILE.image.version}.txt")
    assert data is not None, "shipped with this package"
    return frozenset(data.decode().split())


@cache
def _names() -> frozenset[str]:
    """Every name that argparse compares an abbreviation with."""
    found = {*recorded("switches"), *REMOVED_SWITCHES}
    return frozenset(found | {NEGATED + name.removeprefix("--") for name in found if name.startswith("--")})


@lru_cache
def spelled_out(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """``arguments`` with the names of switches in full. Ambiguous and unknown ones stay.

    vLLM's parser takes whatever begins one switch alone: ``--prefill-con``, ``-t``. Source: wheel 0.32.0,
    utils/argparse_utils.py FlexibleArgumentParser, which leaves argparse's ``allow_abbrev`` on.
    """
    return tuple(map(_in_full, arguments))


def _in_full(word: str) -> str:
    switch = split_switch(word)
    if switch is None:
        return word
    name = switch[0].partition(PARTED)[0]
    dashes = "--" if word.startswith("--") else "-"
    meant = [known for known in _names() if known.startswith(dashes + name)]
    if dashes + name in meant:
        meant = [dashes + name]
    if len(meant) != 1:
        return word
    return SAME.get(meant[0], meant[0]) + word.lstrip("-").strip()[len(name) :]


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
    given = placement.options.arguments
    unknown = [f"--{switch}" for switch in parse_arguments(spelled_out(given)) if not _known(switch)]
    if unknown:
        named = ", ".join(unknown)
        found.append(
            f"vLLM {version} has no {named}: it refuses unknown and ambiguous switches at its start."
        )
    return tuple(found)


def _known(switch: str) -> bool:
    """Whether a switch, in full, is one of the version's."""
    name = switch.partition(PARTED)[0]
    return name[:1].isupper() or not {f"--{name}", f"-{name}"}.isdisjoint(_names())
