"""The tiers of tests: several at once where they wait for different things, and one closing line over all.

    python -m tools.tiers ci              # make test: everything CI runs
    python -m tools.tiers nightly [PART]  # make nightly: what takes too long for every change

A tier is a target of the Makefile. One that runs alone prints as it goes; of several at once each prints its
output as one block when it ends. A tier that fails fails the run, and so does one that ran no test.

Tests measure real servers on a machine that CI shares. Up to MOST_REPEATED failed tests of a CI run are run
once more, with no other tier beside them. One that passes then is flaky: the closing lines name it. Errors of
fixtures and of collection, a test that ended its process, and a run that ended early stay failures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tools.whole_run import NOTE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "tiers"
"""Of the latest run: each tier's tests as JUnit's XML, and its output where that was not shown as it came."""
CI = (("lint", "types", "wiring"), ("unit",), ("pages",), ("engines", "api", "charts"), ("e2e",))
"""Groups of test tiers, one group after the other; the tiers of a group run at once. Tiers that need the
fewest builds come first."""
LAST_FAILED, WHOLE = "cache/lastfailed", NOTE
"""In pytest's cache: the tests that failed, and whether all ran."""
CRASHED = "crashed while running"
"""pytest-xdist's words for a test that ended its process."""
GRACE_SECONDS = 60
"""Seconds for the clusters and servers of a tier that is ended to stop."""
CHECKS = {"lint", "types"}
"""Tiers without tests."""
REPEATED = {"unit", "engines", "api", "e2e"}
"""Tiers with tests that measure, or that wait for other processes."""
MOST_REPEATED = 4
"""Failed tests of a run that may run once more: more of them are no coincidence."""
NIGHTLY_MINUTES = {
    "properties": 29,
    "probe": 5,
    "engines": 20,
    "autoscaling": 25,
    "e2e": 13,
    "scalers": 18,
    "alerts": 5,
    "endpoint": 3,
    "release": 3,
    "install": 9,
    "soak": 20,
}
"""Parts of the nightly run, and minutes after which each is ended: 150 minutes in all. What the parts need is
built before."""
SOAK_SECONDS = 600
"""Of the soak's events, for which its minutes suffice. TACHO_SOAK_SECONDS asks for more."""


@dataclass
class Tier:
    """A target that runs, and its result once it has ended."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    """None: its output is shown as it comes."""
    report: Path
    started: float
    limit_seconds: float | None = None
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    flaky: tuple[str, ...] = ()
    """Tests that failed and passed when they ran once more, alone."""
    errors: int = 0
    """Failures that are not of a test's own, counted in ``failed`` too."""
    problem: str = ""
    """Why the tier failed, where that is not a test."""

    @property
    def ok(self) -> bool:
        ended_well = self.process.returncode == 0 or bool(self.flaky)
        return ended_well and not self.failed and not self.problem

    def line(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        tests = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        told = [] if self.name in CHECKS else [tests, *(f"flaky: {test}" for test in self.flaky)]
        return "  ".join([f"{self.name:12}{verdict} in {self.seconds:5.0f} s", *told, self.problem]).rstrip()


def start(
    name: str, target: str, *, shown: bool, limit_seconds: float | None = None, repeated: bool = False
) -> Tier:
    """Starts the target. ``shown``: its output as it comes. ``repeated``: only what failed before."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    report, log = FOLDER / f"{name}.xml", None if shown else FOLDER / f"{name}.log"
    report.unlink(missing_ok=True)
    if not repeated:
        for note in (LAST_FAILED, WHOLE):
            cached(name, note).unlink(missing_ok=True)
    chosen = [
        os.environ.get("PYTEST_ADDOPTS", ""),
        f"--junitxml={report}",
        f"-o cache_dir={FOLDER / name}.cache",
    ]
    options = " ".join([*chosen, *(["--last-failed"] if repeated else [])]).strip()
    with open(log or os.devnull, "wb") as output:
        process = subprocess.Popen(
            ["make", "--no-print-directory", target],
            cwd=ROOT,
            env={**os.environ, "PYTEST_ADDOPTS": options},
            stdout=None if shown else output,
            stderr=None if shown else subprocess.STDOUT,
            start_new_session=True,
        )
    return Tier(name, process, log, report, time.monotonic(), limit_seconds)


def cached(name: str, note: str) -> Path:
    """Where pytest notes something of a tier's run."""
    return FOLDER / f"{name}.cache" / "v" / note


def has_ended(tier: Tier) -> bool:
    """Whether the tier has ended; a tier beyond its time limit is ended."""
    passed_seconds = time.monotonic() - tier.started
    if tier.process.poll() is None:
        if tier.limit_seconds is not None and passed_seconds > tier.limit_seconds and not tier.problem:
            tier.problem = f"ended after {tier.limit_seconds / 60:g} minutes"
            end(tier)
        return False
    tier.seconds = passed_seconds
    return True


def end(tier: Tier) -> None:
    """Ends a tier with all its processes: as Ctrl-C does, so that fixtures clean up, then by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tier.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tier.process.wait(GRACE_SECONDS)


def count(tier: Tier) -> None:
    """Reads the report of the tests; without one the tier has a problem."""
    if tier.name not in CHECKS:
        total = 0
        if tier.report.exists():
            for suite in ElementTree.parse(tier.report).getroot().iter("testsuite"):
                total += int(suite.get("tests", 0))
                errors = int(suite.get("errors", 0))
                crashed = (CRASHED in (failure.get("message") or "") for failure in suite.iter("failure"))
                tier.errors += errors + sum(crashed)
                tier.failed += errors + int(suite.get("failures", 0))
                tier.skipped += int(suite.get("skipped", 0))
        tier.passed = max(0, total - tier.failed - tier.skipped)
        if not tier.problem and not tier.passed and not tier.failed:
            tier.problem = "no test ran"
    if not tier.problem and not tier.failed and tier.process.returncode:
        tier.problem = f"exit status {tier.process.returncode}"


def together(tiers: Sequence[Tier]) -> None:
    """Waits for all tiers; none outlives this process."""
    running = list(tiers)
    try:
        while running:
            time.sleep(0.2)
            for tier in [each for each in running if has_ended(each)]:
                running.remove(tier)
                count(tier)
                if tier.log is not None:
                    print(f"\n==== {tier.name}", flush=True)
                    sys.stdout.buffer.write(tier.log.read_bytes())
                print(f"==== {tier.line()}", flush=True)
    finally:
        for tier in running:
            end(tier)


def _noted(tier: Tier, note: str) -> Any:
    path = cached(tier.name, note)
    return json.loads(path.read_bytes()) if path.exists() else None


def repeat_failed(tiers: Sequence[Tier]) -> None:
    """Runs failed tests once more, a tier at a time, unless they are more than MOST_REPEATED."""
    broken = [tier for tier in tiers if tier.failed]
    if sum(tier.failed for tier in broken) > MOST_REPEATED:
        return
    for tier in broken:
        tests = tuple(_noted(tier, LAST_FAILED) or ())
        whole = _noted(tier, WHOLE) and not tier.errors and not tier.problem
        if not whole or tier.name not in REPEATED or len(tests) != tier.failed:
            continue
        print(f"\n==== {tier.name}, once more: {', '.join(tests)} …", flush=True)
        again = start(tier.name, tier.name, shown=True, repeated=True)
        together([again])
        if again.ok and again.passed == tier.failed:
            tier.passed, tier.failed, tier.flaky = tier.passed + tier.failed, 0, tests


def ci() -> list[Tier]:
    done: list[Tier] = []
    for names in CI:
        print(f"\n==== {', '.join(names)} …", flush=True)
        tiers = [start(name, name, shown=len(names) == 1) for name in names]
        together(tiers)
        done += tiers
    repeat_failed(done)
    return done


def limit_of(part: str) -> float:
    """Seconds after which a part is ended: a longer soak has as much longer."""
    asked = float(os.environ.get("TACHO_SOAK_SECONDS") or SOAK_SECONDS) if part == "soak" else SOAK_SECONDS
    return NIGHTLY_MINUTES[part] * 60 + max(0.0, asked - SOAK_SECONDS)


def nightly(parts: Sequence[str]) -> list[Tier]:
    done: list[Tier] = []
    for part in parts:
        print(f"\n==== {part} …", flush=True)
        tier = start(part, f"nightly-{part}", shown=True, limit_seconds=limit_of(part))
        together([tier])
        done.append(tier)
    return done


def interrupted(signal_number: int, _: FrameType | None) -> None:
    sys.exit(128 + signal_number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.tiers", description=__doc__)
    parser.add_argument("run", choices=("ci", "nightly"))
    parser.add_argument("part", nargs="?", choices=NIGHTLY_MINUTES, help="of nightly; absent: all")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    started = time.monotonic()
    parts = [arguments.part] if arguments.part else list(NIGHTLY_MINUTES)
    done = ci() if arguments.run == "ci" else nightly(parts)
    print("\n==== all tiers" if arguments.run == "ci" else "\n==== nightly")
    for tier in done:
        print(tier.line())
    failed_tiers = [tier.name for tier in done if not tier.ok]
    passed, failed, skipped = (
        sum(getattr(tier, each) for tier in done) for each in ("passed", "failed", "skipped")
    )
    if failed_tiers:
        print(f"failed: {', '.join(failed_tiers)}")
    flaky = sum(len(tier.flaky) for tier in done)
    told = f"{passed} passed, {failed} failed"
    told += "".join(
        f", {number} {what}" for number, what in ((skipped, "skipped"), (flaky, "flaky")) if number
    )
    print(f"==== {told} in {time.monotonic() - started:.0f} s ====", flush=True)
    return 1 if failed_tiers else 0


if __name__ == "__main__":
    sys.exit(main())
