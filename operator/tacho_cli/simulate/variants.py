"""Parses ``--what-if``: simulates the same trace with other settings. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacho_cli.inputs.options import milliseconds
from tacho_cli.problems import CommandError
from tacho_cli.simulate.measurements import MeasurementSource
from tacho_cli.simulate.simulated_deployment import DeploymentOptions

QUANTIZATION, ALL = "quantization", "all"
FORMATS = (
    "  -> different values of one of: minReplicas=1,2,4 (1 to 1000), maxReplicas=4,8, slo.ttft=300ms,1s, "
    "slo.tpot=30ms,50ms, quantization=none,fp8, quantization=all"
)


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
    if files and (measurements or not chosen):
        dimensions.append(_files("resource", "file", files))
    if measurements and not chosen:
        dimensions.append(_files("measurement", "measurement", measurements))
    dimensions += (_dimension(text, measured) for text in what_if)
    if twice := named_twice([name for name, _ in dimensions]):
        raise CommandError(f"--what-if {twice}: more than once; list its values with commas")
    made = []
    for choice in itertools.product(*(values for _, values in dimensions)):
        changes = {option: value for _, change in choice for option, value in change.items()}
        varied = (
            (name, value) for (name, values), (value, _) in zip(dimensions, choice, strict=True) if values[1:]
        )
        made.append(Variant(values=tuple(varied), given=dataclasses.replace(given, **changes)))
    return tuple(made)


Changes = dict[str, Any]
"""Values of fields of DeploymentOptions."""
Dimension = tuple[str, list[tuple[str, Changes]]]
"""The name of a setting, and the changes for each of its values."""


def _files(name: str, option: str, files: Sequence[str]) -> Dimension:
    """The dimension of the given files, which are named by their stems if these are unique."""
    stems = [Path(file).stem for file in files]
    shown = stems if len(set(stems)) == len(files) else files
    if len(set(files)) != len(files):
        raise CommandError(f"the same {name} is named twice")
    return name, [(word, {option: file}) for word, file in zip(shown, files, strict=True)]


def named_twice(names: Sequence[str]) -> str:
    """The first of ``names`` that is there more than once; "": none is."""
    return next((name for name in names if names.count(name) > 1), "")


def _dimension(text: str, measured: Sequence[MeasurementSource]) -> Dimension:
    key, _, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if twice := named_twice(values):
        raise CommandError(f"--what-if {text}: {twice} is named twice")
    if key == QUANTIZATION:
        return key, list(_quantizations(values, measured))
    option, read = KEYS.get(key, ("", _replicas))
    numbers = [read(value) for value in values]
    if option and all(numbers):
        return key, [(value, {option: number}) for value, number in zip(values, numbers, strict=True)]
    raise CommandError(f"--what-if {text}: unknown", FORMATS)


def _quantizations(
    values: Sequence[str], measured: Sequence[MeasurementSource]
) -> Iterable[tuple[str, Changes]]:
    known: dict[str, list[MeasurementSource]] = {}
    for item in measured:
        known.setdefault(item.quantization or "unknown", []).append(item)
    for value in list(known) or values if values == [ALL] else values:
        places = known.get(value, [])
        if len(places) != 1:
            listed = (f"{name} in {' and in '.join(one.place for one in at)}" for name, at in known.items())
            raise CommandError(
                f"--what-if {QUANTIZATION}={value}: one file with such a measurement is needed",
                f"  -> measured: {', '.join(listed) or 'none'}; add files with -f FILE or --measurement FILE",
            )
        yield value, dict(places[0].options)


def _replicas(value: str) -> int | None:
    return int(value) if re.fullmatch(r"\d{1,3}|1000", value) else None


KEYS: dict[str, tuple[str, Callable[[str], int | None]]] = {
    "minReplicas": ("min_replicas", _replicas),
    "maxReplicas": ("max_replicas", _replicas),
    "slo.ttft": ("ttft_milliseconds", milliseconds),
    "slo.tpot": ("tpot_milliseconds", milliseconds),
}
"""Settings that may be varied: the field of DeploymentOptions, and how a value is read (0, None: not so)."""
