"""Runs ``tacho status --watch``: reads the cluster every few seconds, and prints what changed.

Between two readings of a resource it finds which steps to Ready ended, and the present one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tacho_cli.figures.times import span
from tacho_cli.inputs.kubectl import ARROW, UNREACHABLE, KubectlTarget, deployment
from tacho_cli.output import following, say
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.status.rows import condition, speed
from tacho_contract.text import visible
from tacho_contract.units import file_size, part_of

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest

STEPS = ("plan", "schedule", "image", "download", "load", "probe")
STEP_OF = {
    "WaitingForOperator": "plan",
    "Inspecting": "plan",
    "Starting": "schedule",
    "Scheduling": "schedule",
    "PullingImages": "image",
    "Downloading": "download",
    "Loading": "load",
    "Measuring": "probe",
}
"""The present step, by the reason of Ready."""
REPORTED = ("download", "probe")
"""Steps that only a pod's report shows; during them status.startup is of the present start."""
RATE_SECONDS = 30.0
"""Seconds over which the download rate is averaged; status changes every 2 to 10 seconds."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of one reading of a resource: its ended steps, its present step, whether it is ready."""

    ended: tuple[str, ...]
    """A line for each step that ended since the last observation."""
    now: str
    """The present step as a line."""
    mark: tuple[str, int]
    """A new value means that ``now`` changed by more than a few percent, so that it is worth another line
    where lines are not overwritten.
    """
    ready: bool = False
    stalled: bool = False


@dataclass(slots=True)
class StartProgress:
    """The steps that earlier readings of a resource have shown."""

    shown: set[str] = field(default_factory=set)
    former: Manifest | None = None
    """status.startup at the first reading. It may be of an earlier start, while no pod has reported."""
    begun: bool = False
    pace: deque[tuple[float, int]] = field(default_factory=deque)
    """(seconds, bytes) at each change of the number of downloaded bytes."""

    def observe(self, resource: Manifest, now_seconds: float) -> Observation:
        """The steps that ended and the present one. ``now_seconds``: of any steady clock."""
        status: Manifest = resource.get("status") or {}
        current = status.get("observedGeneration") == resource["metadata"].get("generation")
        ready, moving = condition(status, "Ready"), condition(status, "Reconciling")
        stalled = condition(status, "Stalled")
        serves = current and ready.get("status") == "True" and moving.get("status") != "True"
        step = STEP_OF.get(ready.get("reason", "")) if ready.get("status") != "True" else None
        if not self.begun and not serves and step not in REPORTED:
            self.former = status.get("startup")
        self.begun = True
        startup = status.get("startup") or {}
        known = startup if serves or step in REPORTED or startup != (self.former or {}) else {}
        ended = tuple(self._ended(status, known, step, serves=serves))
        halted = current and stalled.get("status") == "True" and not serves
        explained = ready if ready.get("status") != "True" or serves else moving
        text = f"{explained.get('reason', 'waiting')}: {explained.get('message', '')}"
        percent = 0
        if step == "download" and known.get("downloadTotalBytes"):
            text, percent = self._download(known, now_seconds)
        elif serves:
            total = known.get("totalSeconds")
            text = f"{'Ready':10}{explained.get('message', '')}" + (f" ({span(total)})" if total else "")
        return Observation(ended, text, (explained.get("reason", "") or "", percent // 10), serves, halted)

    def _ended(self, status: Manifest, startup: Manifest, step: str | None, *, serves: bool) -> Iterator[str]:
        """A line for each step that has ended and was not printed yet."""
        last = len(STEPS) if serves else STEPS.index(step) if step else 0
        for name in STEPS[:last]:
            text = _plan(status) if name == "plan" else _duration(name, startup, status)
            if text and name not in self.shown:
                self.shown.add(name)
                yield f"{name:10}{text}"

    def _download(self, startup: Manifest, now_seconds: float) -> tuple[str, int]:
        """(line, percent) of the download: bytes, rate and time left."""
        done, total = int(startup.get("downloadedBytes", 0)), int(startup["downloadTotalBytes"])
        if not self.pace or self.pace[-1][1] != done:
            self.pace.append((now_seconds, done))
        while len(self.pace) > 2 and now_seconds - self.pace[0][0] > RATE_SECONDS:
            self.pace.popleft()
        (since, before), percent = self.pace[0], 100 * done // total
        rate = (done - before) / (now_seconds - since) if now_seconds > since else 0.0
        text = f"{'download':10}{part_of(done, total)} ({percent} %)"
        if rate > 0:
            text += f", {file_size(int(rate))}/s, {span(max(1, round((total - done) / rate)))} left"
        return text, percent


def _plan(status: Manifest) -> str:
    """Engine, version, quantization and GPUs; "" without a plan."""
    plan: Manifest = status.get("plan") or {}
    engine, gpu = plan.get("engine") or {}, plan.get("gpu") or {}
    where = f"{gpu['count']} x {gpu.get('product', '')}" if gpu.get("count") else "the CPU"
    words = (engine.get("name"), engine.get("version"), "with", plan.get("quantizationMethod"), "on", where)
    return " ".join(filter(None, words)) if engine else ""


def _duration(step: str, startup: Manifest, status: Manifest) -> str:
    """How long the step took; "" while it is not known, and for a step that was not needed."""
    seconds = startup.get(f"{step}Seconds")
    if seconds is None:
        return ""
    text = span(seconds)
    if step == "download" and (total := startup.get("downloadTotalBytes")):
        rate = f", {file_size(round(total / seconds))}/s" if seconds else ""
        return f"{text}, {file_size(total)}{rate}"
    if step == "load":
        parts = {"compiling": startup.get("compileSeconds"), "CUDA graphs": startup.get("graphSeconds")}
        return ", ".join([text, *(f"{name} {span(part)}" for name, part in parts.items() if part)])
    if step == "probe":
        rate = speed(status)
        return f"{text}, {rate} tok/s a replica" if rate else text
    return text


SAMPLE_INTERVAL_SECONDS = 2.0
TRIES = 15


def until_ready(target: KubectlTarget, name: str) -> int:
    """Prints a line for each step to Ready; returns OK, or NOT_MET where the resource needs user action."""
    steps, mark = StartProgress(), None
    with following() as progress:
        while True:
            resource = _read_resource(target, name)
            observation = steps.observe(resource, time.monotonic())
            for line in observation.ended:
                print(visible(line), flush=True)
            if observation.ready or observation.stalled:
                break
            if progress is not say or observation.mark != mark:  # a terminal's line is overwritten
                progress(observation.now)
            mark = observation.mark
            time.sleep(SAMPLE_INTERVAL_SECONDS)
    stalled = condition(resource["status"], "Stalled")
    if observation.ready:
        print(visible(observation.now), flush=True)
    if not observation.ready or stalled.get("status") == "True":  # what serves is not what was applied
        print(visible(f"{'Stalled':10}{stalled.get('message', '')}"), flush=True)
    return ExitCode.OK if observation.ready else ExitCode.NOT_MET


def _read_resource(target: KubectlTarget, name: str) -> Manifest:
    """The resource. It is read up to TRIES times: the API server may be away for some seconds."""
    for tries_left in reversed(range(TRIES)):
        try:
            return deployment(target, name)
        except CommandError as error:
            if not tries_left or not UNREACHABLE.search(str(error)):
                raise
            say(f"{str(error).partition(ARROW)[0]}; reading again")
            time.sleep(SAMPLE_INTERVAL_SECONDS)
    raise AssertionError("the last try returns or raises")
