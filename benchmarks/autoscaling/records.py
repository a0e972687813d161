"""The committed rows of runs: one for each policy on a scenario, with a value for each seed. CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean

from benchmarks.autoscaling.goals import Score

JUDGING = Path(__file__).with_name("judging.csv")
"""Rows of all judging runs, appended and never rewritten."""
ABLATION = Path(__file__).with_name("ablation.csv")
"""tacho without the mechanism that stands for the policy, on the seeds of the commit that was judged."""
ON = " on "
"""Between a commit and that of the former run whose seeds it was judged on."""
DEVELOPMENT = Path(__file__).with_name("development.csv")
"""Rows of tacho's rivals on the development seeds, each by the code of its commit."""


@dataclass(frozen=True, slots=True)
class Row:
    commit: str
    """Last commit that changed code; "b on a": on the seeds of a."""
    scenario: str
    policy: str
    parameters: str
    """As chosen on the training trace; "": the defaults."""
    slo_percent: tuple[float, ...]
    gpu_hours: tuple[float, ...]
    ttft_p90_seconds: tuple[float, ...]

    @property
    def score(self) -> Score:
        waits = self.ttft_p90_seconds
        return Score(fmean(self.slo_percent) / 100, fmean(self.gpu_hours), fmean(waits) if waits else None)


COLUMNS = tuple(field.name for field in fields(Row))


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return [
            Row(*(row[name] for name in COLUMNS[:4]), *(_values(row[name]) for name in COLUMNS[4:]))
            for row in csv.DictReader(lines)
        ]


def append(path: Path, rows: Iterable[Row]) -> None:
    begins = not path.exists()
    with path.open("a", newline="") as lines:
        table = csv.writer(lines, lineterminator="\n")
        if begins:
            table.writerow(COLUMNS)
        for row in rows:
            cells = astuple(row)
            table.writerow((*cells[:4], *(" ".join(map(repr, values)) for values in cells[4:])))


def replace(path: Path, rows: Iterable[Row]) -> None:
    """Rows of the same policy and scenario make way."""
    found = {(row.scenario, row.policy): row for row in (*read(path), *rows)}
    path.unlink(missing_ok=True)
    append(path, found.values())


def scores(rows: Iterable[Row]) -> dict[str, dict[str, Score]]:
    """By scenario, by policy; of several rows the last counts."""
    found: dict[str, dict[str, Score]] = {}
    for row in rows:
        found.setdefault(row.scenario, {})[row.policy] = row.score
    return found


def latest(rows: Iterable[Row]) -> list[Row]:
    """Rows of the commit that was judged last, after those of the run whose seeds it took."""
    every = list(rows)
    judged = every[-1].commit
    return [row for row in every if row.commit in (judged, judged.partition(ON)[2])]


def _values(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))
