"""Chooses the image of an engine, and reads the engine's version from the image's tag."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tacho_engines.profile import EngineProfile


def version_key(version: str) -> tuple[int, ...]:
    """``0.26.1`` as (0, 26, 1); parsing ends at the first part that is not a number."""
    parts: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


_TAG_VERSION = re.compile(r"v?(\d+\.\d+(?:\.\d+)?)(?:[-.+_].*)?")


_TAG_BUILD = re.compile(r"(?:[A-Za-z].*-)?(b\d+)")
_CPU_BUILD = re.compile(r"(?<![a-z])cpu(?:only)?(?![a-z])", re.IGNORECASE)


def image_version(profile: EngineProfile, image: str) -> str:
    """The version an image reference's tag names (``repo:v0.26.0-cu128`` gives ``0.26.0``), or ""."""
    last = image.split("@", 1)[0].rsplit("/", 1)[-1]
    _, _, tag = last.partition(":")
    match = _TAG_VERSION.fullmatch(tag) or (_TAG_BUILD.fullmatch(tag) if profile.numbers_builds else None)
    return match[1] if match else ""


def is_for_cpu(profile: EngineProfile, image: str) -> bool:
    """Whether ``image`` is by its name a build for hosts without GPU."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    own = profile.cpu_image.reference.partition(":")[0] if profile.cpu_image else ""
    return _CPU_BUILD.search(name) is not None or (bool(own) and name.partition(":")[0] == own)


def engine_image(
    profile: EngineProfile, desired: str, settings: Mapping[str, str], method: str = ""
) -> tuple[str, str]:
    """(the image, the engine's version in it).

    The image is ``desired`` (spec.engine.image), else the operator's setting, else the profile's: the one
    with plugins where quantization ``method`` needs a plugin that upstream's image lacks. The version is that
    of the tag, else the profile's.
    """
    image = desired or settings.get(profile.image.setting or profile.name, "")
    if not image:
        plugged = _by_plugin(profile, profile.image.version, method)
        image = profile.plugins.reference if plugged else profile.image.reference
    return image, image_version(profile, image) or profile.image.version


def _by_plugin(profile: EngineProfile, version: str, method: str) -> bool:
    since = profile.plugins.methods.get(method)
    return since is not None and version_key(version) >= version_key(since)


def _repository(image: str) -> str:
    """``image`` without registry, tag and digest, for comparison."""
    path = image.split("@", 1)[0].split("/")
    if len(path) > 1 and ("." in path[0] or ":" in path[0] or path[0] == "localhost"):
        path = path[1:]
    return "/".join([*path[:-1], path[-1].partition(":")[0]])


def is_upstreams(profile: EngineProfile, image: str) -> bool:
    """Whether ``image`` is the one that the engine's project publishes, from any registry."""
    return _repository(image) == _repository(profile.image.reference)


def is_unpublished(profile: EngineProfile, image: str) -> bool:
    """Whether ``image`` is tacho's own by its bare name, which no public registry has."""
    return image in (profile.image.reference, profile.plugins.reference) and "/" not in image


def lacks_plugin(profile: EngineProfile, image: str, version: str, method: str) -> bool:
    """Whether ``image`` is upstream's own, of a version in which ``method`` needs a plugin that it does not
    contain."""
    return is_upstreams(profile, image) and _by_plugin(profile, version, method)
