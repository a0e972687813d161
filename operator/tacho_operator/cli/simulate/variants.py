"""``--what-if``: the same trace with other settings. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tacho_operator.cli.output.problems import CommandError
from tacho_operator.cli.probe.asked import question
from tacho_operator.cli.simulate.entries import Measured
from tacho_operator.cli.simulate.subject import Given

MOST_REPLICAS = 1000
"""That may be asked for, as by the options."""
QUANTIZATION, ALL = "quantization", "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    said: tuple[tuple[str, str], ...]
    """(setting, value) of what varies; (): nothing does."""
    given: Given

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.said)


def asks_quantization(what_if: Iterable[str]) -> bool:
    return any(text.partition("=")[0] == QUANTIZATION for text in what_if)


def variants(
    given: Given,
    files: Sequence[str],
    measurements: Sequence[str],
    what_if: Sequence[str],
    measured: Sequence[Measured] = (),
) -> tuple[Variant, ...]:
    """Each combination, the first setting varying slowest. ``measured``: what the files hold, for
    quantizations to be chosen from; those files are then no setting of their own. Raises CommandError."""
    dimensions: list[Dimension] = []
    chosen = asks_quantization(what_if)
    if not chosen or measurements:
        dimensions += _files("resource", files, lambda given, file: dataclasses.replace(given, file=file))
    if not chosen:
        dimensions += _files(
            "measurement", measurements, lambda given, file: dataclasses.replace(given, measurement=file)
        )
    dimensions += (_dimension(text, measured) for text in what_if)
    names = [name for name, _ in dimensions]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise CommandError(f"--what-if {twice}: more than once; list its values with commas")
    made = []
    for choice in itertools.product(*(values for _, values in dimensions)):
        changed = given
        for _, change in choice:
            changed = change(changed)
        said = (
            (name, value) for (name, values), (value, _) in zip(dimensions, choice, strict=True) if values[1:]
        )
        made.append(Variant(said=tuple(said), given=changed))
    return tuple(made)


Change = Callable[[Given], Given]
Dimension = tuple[str, list[tuple[str, Change]]]
"""A setting, and each value with what it changes."""


def _files(name: str, files: Sequence[str], change: Callable[[Given, str], Given]) -> list[Dimension]:
    """None where no file was named. Files are called by their stems, where those tell them apart."""
    if not files:
        return []
    stems = [Path(file).stem for file in files]
    shown = stems if len(set(stems)) == len(files) else list(files)
    if len(set(files)) != len(files):
        raise CommandError(f"the same {name} is named twice")
    return [
        (name, [(word, _with(change, file)) for word, file in zip(shown, files, strict=True)]),
    ]


def _with(change: Callable[[Given, str], Given], value: str) -> Change:
    return lambda given: change(given, value)


def _dimension(text: str, measured: Sequence[Measured]) -> Dimension:
    key, _, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    known = {**{name: example for name, (_, example) in KEYS.items()}, QUANTIZATION: "none,fp8 or all"}
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise CommandError(
            f"--what-if {text}: {key!r} is not known{meant}", f"  -> one of: {', '.join(known)}"
        )
    if not all(values) or len(set(values)) != len(values):
        raise CommandError(
            f"--what-if {text}: different values with commas are wanted, e.g. {key}={known[key]}"
        )
    if key == QUANTIZATION:
        return key, list(_quantizations(values, measured))
    change = KEYS[key][0]
    return key, [(value, _with(change, value)) for value in values]


def _quantizations(values: Sequence[str], measured: Sequence[Measured]) -> Iterable[tuple[str, Change]]:
    known: dict[str, list[Measured]] = {}
    for item in measured:
        known.setdefault(item.quantization, []).append(item)
    silent = [item.place for item in known.pop("", ())]
    told = ", ".join(f"{name} ({places[0].place})" for name, places in known.items()) or "none"
    without = f"; {', '.join(silent)} says none" if silent else ""
    for value in list(known) or values if values == [ALL] else values:
        places = known.get(value, [])
        said = f"--what-if {QUANTIZATION}={value}: "
        if not places:
            near = difflib.get_close_matches(value, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise CommandError(
                f"{said}no file has a current measurement of it{meant}",
                f"  -> measured: {told}{without}; name more with -f FILE or --measurement FILE",
            )
        if len(places) > 1:
            raise CommandError(
                f"{said}measured in {' and in '.join(item.place for item in places)}",
                "  -> name one of them, or compare the files without a quantization",
            )
        yield value, partial(_measured_at, places[0])


def _measured_at(place: Measured, given: Given) -> Given:
    if place.measurement:
        return dataclasses.replace(given, measurement=place.measurement)
    return dataclasses.replace(given, file=place.file, name=place.name)


def _least(given: Given, value: str) -> Given:
    return dataclasses.replace(given, least=_replicas("minReplicas", value))


def _most(given: Given, value: str) -> Given:
    return dataclasses.replace(given, most=_replicas("maxReplicas", value))


def _replicas(key: str, value: str) -> int:
    count = int(value) if re.fullmatch(r"\d{1,6}", value) else 0
    if not 1 <= count <= MOST_REPLICAS:
        raise CommandError(f"--what-if {key}={value}: 1 to {MOST_REPLICAS} replicas are wanted")
    return count


def _ttft(given: Given, value: str) -> Given:
    return dataclasses.replace(given, ttft_milliseconds=_milliseconds("ttft", value))


def _tpot(given: Given, value: str) -> Given:
    return dataclasses.replace(given, tpot_milliseconds=_milliseconds("tpot", value))


def _milliseconds(key: str, value: str) -> int:
    try:
        level = question("", f"{key}={value}", "").slo
    except CommandError as error:
        said = str(error).removeprefix(f"--slo {key}={value}: ")
        raise CommandError(f"--what-if slo.{key}={value}: {said}") from None
    return level.ttft_milliseconds or level.tpot_milliseconds


KEYS: dict[str, tuple[Callable[[Given, str], Given], str]] = {
    "minReplicas": (_least, "1,2,4"),
    "maxReplicas": (_most, "4,8"),
    "slo.ttft": (_ttft, "300ms,500ms,1s"),
    "slo.tpot": (_tpot, "30ms,50ms"),
}
"""Setting to what a value changes, and an example."""
