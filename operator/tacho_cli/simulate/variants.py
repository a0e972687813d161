"""Parses ``--what-if``: simulates the same trace with other settings. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tacho_cli.inputs.options import live_config
from tacho_cli.problems import CommandError
from tacho_cli.simulate.measurements import MeasurementSource
from tacho_cli.simulate.simulated_deployment import DeploymentOptions

MAX_REPLICAS = 1000
QUANTIZATION, ALL = "quantization", "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    values: tuple[tuple[str, str], ...]
    """(setting, value) of each varied setting; empty: none varies."""
    given: DeploymentOptions

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values)


def varies_quantization(what_if: Iterable[str]) -> bool:
    return any(text.partition("=")[0] == QUANTIZATION for text in what_if)


def variants(
    given: DeploymentOptions,
    files: Sequence[str],
    measurements: Sequence[str],
    what_if: Sequence[str],
    measured: Sequence[MeasurementSource] = (),
) -> tuple[Variant, ...]:
    """All combinations of the settings to compare; the first setting varies slowest. Raises CommandError.

    ``measured``: measurements to select quantizations from; their files are then not varied themselves.
    """
    dimensions: list[Dimension] = []
    chosen = varies_quantization(what_if)
    if not chosen or measurements:
        dimensions += _files("resource", "file", files)
    if not chosen:
        dimensions += _files("measurement", "measurement", measurements)
    dimensions += (_dimension(text, measured) for text in what_if)
    names = [name for name, _ in dimensions]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise CommandError(f"--what-if {twice}: more than once; list its values with commas")
    made = []
    for choice in itertools.product(*(values for _, values in dimensions)):
        changed = given
        for _, change in choice:
            changed = change(changed)
        varied = (
            (name, value) for (name, values), (value, _) in zip(dimensions, choice, strict=True) if values[1:]
        )
        made.append(Variant(values=tuple(varied), given=changed))
    return tuple(made)


Change = Callable[[DeploymentOptions], DeploymentOptions]
Dimension = tuple[str, list[tuple[str, Change]]]
"""The name of a setting, and for each of its values the change to apply."""


def _changed(**options: Any) -> Change:
    """A change that sets the given fields of DeploymentOptions."""
    return lambda given: dataclasses.replace(given, **options)


def _files(name: str, option: str, files: Sequence[str]) -> list[Dimension]:
    """The dimension of the given files; empty without files. Files are named by their stems if these are
    unique."""
    if not files:
        return []
    stems = [Path(file).stem for file in files]
    shown = stems if len(set(stems)) == len(files) else files
    if len(set(files)) != len(files):
        raise CommandError(f"the same {name} is named twice")
    return [(name, [(word, _changed(**{option: file})) for word, file in zip(shown, files, strict=True)])]


def _dimension(text: str, measured: Sequence[MeasurementSource]) -> Dimension:
    key, _, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    known = {**{name: setting.example for name, setting in KEYS.items()}, QUANTIZATION: "none,fp8 or all"}
    if key not in known:
        unknown = f"--what-if {text}: unknown key {key!r}{did_you_mean(key, known)}"
        raise CommandError(unknown, f"  -> one of: {', '.join(known)}")
    if not all(values) or len(set(values)) != len(values):
        raise CommandError(
            f"--what-if {text}: give different values separated by commas, e.g. {key}={known[key]}"
        )
    if key == QUANTIZATION:
        return key, list(_quantizations(values, measured))
    setting = KEYS[key]
    return key, [(value, _changed(**{setting.option: setting.read(key, value)})) for value in values]


def _quantizations(
    values: Sequence[str], measured: Sequence[MeasurementSource]
) -> Iterable[tuple[str, Change]]:
    known: dict[str, list[MeasurementSource]] = {}
    for item in measured:
        known.setdefault(item.quantization, []).append(item)
    silent = [item.place for item in known.pop("", ())]
    listed = ", ".join(f"{name} ({places[0].place})" for name, places in known.items()) or "none"
    without = f"; without quantization: {', '.join(silent)}" if silent else ""
    for value in list(known) or values if values == [ALL] else values:
        places = known.get(value, [])
        prefix = f"--what-if {QUANTIZATION}={value}: "
        if not places:
            raise CommandError(
                f"{prefix}no file has a current measurement{did_you_mean(value, known)}",
                f"  -> measured: {listed}{without}; add files with -f FILE or --measurement FILE",
            )
        if len(places) > 1:
            raise CommandError(
                f"{prefix}measured in {' and in '.join(item.place for item in places)}",
                "  -> give one of these files, or compare the files without quantization=",
            )
        (place,) = places
        if place.measurement:
            yield value, _changed(measurement=place.measurement)
        else:
            yield value, _changed(file=place.file, name=place.name)


def _replicas(key: str, value: str) -> int:
    count = int(value) if re.fullmatch(r"\d{1,6}", value) else 0
    if not 1 <= count <= MAX_REPLICAS:
        raise CommandError(f"--what-if {key}={value}: 1 to {MAX_REPLICAS} replicas are allowed")
    return count


def _milliseconds(key: str, value: str) -> int:
    bound = f"{key.removeprefix('slo.')}={value}"
    try:
        level = live_config("", bound, "").slo
    except CommandError as error:
        text = str(error).removeprefix(f"--slo {bound}: ")
        raise CommandError(f"--what-if {key}={value}: {text}") from None
    return level.ttft_milliseconds or level.tpot_milliseconds


class VariedSetting(NamedTuple):
    option: str
    """Field of DeploymentOptions that it sets."""
    read: Callable[[str, str], int]
    """Function that parses a value: (key, text) to the number. Raises CommandError."""
    example: str


KEYS = {
    "minReplicas": VariedSetting("min_replicas", _replicas, "1,2,4"),
    "maxReplicas": VariedSetting("max_replicas", _replicas, "4,8"),
    "slo.ttft": VariedSetting("ttft_milliseconds", _milliseconds, "300ms,500ms,1s"),
    "slo.tpot": VariedSetting("tpot_milliseconds", _milliseconds, "30ms,50ms"),
}
"""Settings that may be varied, by name."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion for a mistyped name, as the end of a message; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
