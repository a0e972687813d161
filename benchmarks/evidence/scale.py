"""docs/evidence/scale.md: what many resources cost the operator, and what faults do, from recorded runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.evidence.texts import fill
from tools.pages import ROOT, table

RESULTS = ROOT / "benchmarks/fleet/results"
SOAK = ROOT / "benchmarks/lab/soak.md"


class Soak(NamedTuple):
    """A run of the soak by benchmarks/lab/soak.md; recordings of such runs are not kept."""

    date: str
    events: str
    faults: int
    writes: str
    median_seconds: float
    maximum_seconds: float


def page() -> str:
    many, handover, tiny, last = raw("2000"), raw("handover"), raw("hostile-tiny"), last_hour()
    if handover["doneTwice"]:
        raise ValueError("the text says that nothing was done twice")
    others = other_runs(handover)
    return fill(
        "scale",
        mib=many["MiB"][1],
        idle_rate=f"{many['idle']['requestsPerMinute'] / 60:.0f}",
        standby=handover["standbyActsAfterSeconds"],
        runs=1 + len(others),
        soonest=min(others),
        events=last.events,
        faults=last.faults,
        date=last.date,
        writes=last.writes,
        median=f"{last.median_seconds:.1f}",
        restart=f"{many['restartAllLookedAtSeconds']:.0f}",
        lists=sum(count for what, count in many["restartRequests"].items() if what.startswith("list ")),
        tiny=f"{sum(tiny['hostileObjects'].values()):,}",
        delay=f"{tiny['secondsToFirstStatusAfterRestart']:.0f}",
        results=table(("measured", "result"), rows()),
    )


def other_runs(handover: dict[str, Any]) -> list[float]:
    """Seconds until the standby acted in the other runs of that day."""
    return [float(text) for text in re.findall(r"\d+\.\d", handover["note"])]


def last_hour() -> Soak:
    """The last run of an hour, of which the page says that it found nothing."""
    sections = re.split(r"^## ", SOAK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    *_, last = (part for part in sections if re.match(r".*\bhour\b", part))
    text = " ".join(last.split())
    number = r"([\d,]+)"
    counts = re.search(rf"{number} events, {number} faults, .*? {number} writes of the operators", text)
    spread = re.search(r"Hand-overs: median ([\d.]+) s, maximum ([\d.]+) s", text)
    date = re.search(r"20\d\d-\d\d-\d\d", text)
    if "No finding." not in text or counts is None or spread is None or date is None:
        raise ValueError(f"not as a run of the soak is recorded: {text}")
    return Soak(date[0], counts[1], int(counts[2]), counts[3], float(spread[1]), float(spread[2]))


def raw(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rows() -> Iterator[tuple[str, str]]:
    yield from of_many_resources(raw("2000"))
    yield from of_faults(raw("handover"), raw("500-rough"), raw("2000-hub-down"))
    samples, hostile, attack = map(raw, ("scaling-4000", "hostile", "attack"))
    status = attack["secondsToFirstStatus"]
    yield "load sample of 4,000 pods", f"{samples['medianSeconds']:.1f} s (median)"
    yield (
        f"memory with {hostile['jsonMegabytes'] / 1000:.0f} GB of a tenant's hostile objects",
        f"{hostile['memoryMiB']['peak']} MiB at most",
    )
    yield (
        "first status while another tenant attacks; without an attack",
        f"at most {status['attacked']['maximum']} s; {status['alone']['maximum']} s",
    )


def of_many_resources(many: dict[str, Any]) -> Iterator[tuple[str, str]]:
    first = many["firstStatus"]
    idle, busy = (many[name]["requestsPerMinute"] / 60 for name in ("idle", "storm"))
    yield (
        "memory without resources; with 2,000; at most, while metrics are read",
        f"{many['emptyMiB'][1]}; {many['MiB'][1]}; {many['scrapedMiB'][1]} MiB",
    )
    yield (
        "from creation to first status, while all 2,000 are created",
        f"p50 {first['half']:.1f} s, p99 {first['of100no99']:.1f} s",
    )
    yield "all 2,000 ready and measured", f"after {many['allMeasuredSeconds']:.0f} s"
    yield "API requests per second until then; when idle", f"{busy:.0f}; {idle:.0f}"
    yield "CPU when idle", f"{percent(many['idle']['cpuCores'], 2)} of a core"
    yield (
        "restart with 2,000",
        f"all reconciled after {many['restartAllLookedAtSeconds']:.0f} s, {many['restartMiB'][1]} MiB",
    )


def of_faults(
    handover: dict[str, Any], rough: dict[str, Any], down: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    runs = sorted([*other_runs(handover), handover["standbyActsAfterSeconds"]])
    yield "leader killed, each run: first write of the standby", f"after {', '.join(map(str, runs))} s"
    yield "writes made twice by the two leaders", str(len(handover["doneTwice"]))
    yield (
        "500 resources; operator killed, API server restarted, then a minute of 429",
        f"all measured after {rough['allMeasuredSeconds']:.0f} s",
    )
    yield (
        "2,000 resources wait for a hub that is down",
        f"{percent(down['waitingFrom0s']['cpuCores'])} of a core in the first two minutes",
    )


def percent(cores: float, digits: int = 1) -> str:
    return f"{100 * cores:.{digits}f}%"
