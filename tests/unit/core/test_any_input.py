"""Whatever a model's author, a user or a pod writes, a decision ends after a bounded number of steps, and its
status is valid."""

from __future__ import annotations

import base64
import functools
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from tacho_contract import codec
from tacho_contract.model import InspectResult
from tacho_contract.report import Report
from tacho_operator.core import names
from tacho_operator.core.autoscaling.algorithm.schedules import Schedule, bounds_at
from tacho_operator.core.autoscaling.algorithm.types import Bounds
from tacho_operator.core.types import NodeFacts
from tacho_operator.shell.plan_process import planning_failed, result_of
from tests.properties import examples
from tests.unit.core.measured_world import SPEC, measured_world
from tools.harness.pod_states import container_state
from tools.harness.resources import HUB_SPEC, NOW, at, changed
from tools.harness.world import World, copied
from tools.mock.checkpoints import facts_for

DECISION_STEPS = 100_000
PLAN_STEPS = 4_000_000
SCHEDULE_STEPS = 20_000
"""Calls of functions. Ordinary inputs take about a tenth."""

GPU = NodeFacts(
    name="n",
    labels={"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"},
    allocatable={"nvidia.com/gpu": "8", "memory": "64Gi"},
)
WORDS = ("", "x" * 300, "scale", "full", "mla", "F32", "gguf", "-1", "1e999", "2026-13-40T00:00:00Z", at(-9))
VALUES = st.one_of(
    st.sampled_from(
        [None, True, 0, 1, -1, 2**31, 2**62, -(2**62), 2**80, 0.0, -1e300, 1e300, 1e-300, [], {}]
    ),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)


class TooManyStepsError(Exception):
    """A loop that an input makes long."""


@contextmanager
def bounded(steps: int) -> Iterator[None]:
    """Counts calls, of functions in C too; more than ``steps`` are an error."""
    left = steps

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            sys.setprofile(None)
            raise TooManyStepsError

    outer = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(outer)


def paths(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, the inner ones first."""
    if not isinstance(document, dict | list):
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield from paths(value, (*path, key))
        yield (*path, key)


@st.composite
def spoilt(draw: st.DrawFn, sound: Callable[[], Any]) -> Any:
    """A sound document with some values replaced, and some lists made long."""
    document = copied(sound())
    for _ in range(draw(st.integers(0, 6))):
        places = list(paths(document))
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        place = functools.reduce(lambda at, key: at[key], path, document)
        repeated = isinstance(place[last], list) and draw(st.booleans())
        place[last] = place[last] * 500 if repeated else draw(VALUES)
    return document


def bounded_plan(inputs: Any) -> Any:
    """As the process plans: what takes too long is killed."""
    try:
        with bounded(PLAN_STEPS):
            return result_of(inputs)
    except TooManyStepsError:
        return planning_failed("It took too long.")


def decide(world: World, turns: int = 3) -> None:
    world.planner = bounded_plan
    for _ in range(turns):
        with bounded(DECISION_STEPS):
            decision = world.decision()
        world.raw["status"] = world.written(decision)
        world.reconcile(1)
        world.deployment_controller()


@functools.cache
def model() -> Any:
    return codec.to_dict(InspectResult(facts=facts_for("small")))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@examples(1)
@given(spoilt(model), st.sampled_from([None, (), (GPU,)]))
def test_any_facts(document: Any, nodes: tuple[NodeFacts, ...] | None) -> None:
    # Without a node that can be read, only a GPU that spec names is planned.
    gpu = {"products": ["NVIDIA-L4"]} if nodes is None else None
    world = World(changed(HUB_SPEC, engine=None, quantization=None, gpu=gpu))
    world.nodes = nodes
    world.reconcile()
    message = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
    ended = {"exitCode": 0, "message": message, "finishedAt": at(0)}
    container_state(world.pods("inspect")[0], "inspect", state={"terminated": ended})
    decide(world)


@functools.cache
def serving() -> World:
    return measured_world(SPEC)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of lists that were made long
@examples(1)
@given(spoilt(lambda: serving().raw["status"]))
def test_any_status(status: Any) -> None:
    world = copied(serving())
    world.raw["status"] = status
    decide(world)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@examples(1)
@given(spoilt(lambda: codec.to_dict(next(iter(serving().reports.values())))))
def test_any_report(report: Any) -> None:
    world = copied(serving())
    (uid,) = world.reports
    try:
        world.reports[uid] = codec.from_dict(Report, report)
    except codec.DocumentError:
        del world.reports[uid]
    decide(world)


def the_revision(world: World) -> Any:
    (found,) = (item for (kind, _), item in world.objects.items() if kind == "ControllerRevision")
    return found


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@examples(1)
@given(spoilt(lambda: the_revision(serving())["data"]))
def test_any_revision(data: Any) -> None:
    world = copied(serving())
    the_revision(world)["data"] = data
    decide(world)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("podTemplate",), {}),
        (("podTemplate", "spec"), "x"),
        (("podTemplate", "spec", "initContainers"), [{}]),
        (("plan", "engine"), ""),
        (("plan", "totalBytes"), -1),
        (("plan", "pipelineParallel"), 2**62),
    ],
    ids=str,
)
def test_a_damaged_revision_is_named_and_its_pods_go_on(place: tuple[str, ...], value: object) -> None:
    world = copied(serving())
    revision = the_revision(world)
    functools.reduce(lambda at, key: at[key], place[:-1], revision["data"])[place[-1]] = value
    decide(world)
    assert world.brief("Ready")[0] == "True"
    assert world.brief("Stalled") == ("True", "InvalidConfig")
    message = world.condition("Stalled")["message"]
    assert f"ControllerRevision {revision['metadata']['name']} is damaged" in message
    assert world.pods("server")


UNREADABLE = [
    *("", "null", "1", '"x"', "{}", "[]", "[[]]", "[" * 50_000, '{"a":' * 50_000, "9" * 4400, "\u202e"),
    '{"revision":"r","measureKey":"k","reason":"Serving","message":"m","time":"9999-12-31T23:59:59Z"}',
    f'{{"revision":"r","reason":"CannotJudge","message":"m","time":"{at(0)}","count":{2**80},"tries":1e300}}',
]


@pytest.mark.parametrize("note", UNREADABLE, ids=lambda note: note[:20])
def test_any_note(note: str) -> None:
    """Whoever may edit a child may edit what the operator noted there."""
    notes = [value for place, value in vars(names).items() if place.endswith("_ANNOTATION")]
    assert len(notes) > 10
    world = copied(serving())
    for (kind, _), item in world.objects.items():
        if kind != "ControllerRevision":
            item["metadata"].setdefault("annotations", {}).update(dict.fromkeys(notes, note))
    decide(world)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled")[0] == "False"


def parts(least: int, most: int, *words: str) -> st.SearchStrategy[str]:
    numbers = st.integers(least, most).map(str)
    some = st.sampled_from(["*", f"*/{most}", f"{least}-{most}", *words])
    return st.lists(numbers | some, min_size=1, max_size=3).map(",".join)


CRONS = st.tuples(
    parts(0, 59), parts(0, 23), parts(1, 31, "L"), parts(1, 12), parts(0, 7, "MON#5", "FRIL", "1#5")
).map(" ".join)
ZONES = st.sampled_from(["Etc/UTC", "Europe/Berlin", "Australia/Lord_Howe", "America", "Nowhere/There"])
NEVER = "0 0 */31 * 1#5"
"""The first of a month is never its fifth Monday."""


@examples(3)
@example(NEVER, "Etc/UTC", 0, 2)
@given(CRONS, ZONES, st.integers(0, 10**9), st.integers(1, 9))
def test_any_schedule(cron: str, zone: str, later: int, least: int) -> None:
    now = NOW + timedelta(seconds=later)
    with bounded(SCHEDULE_STEPS):
        found = bounds_at(Bounds(least=1, most=8), [Schedule(cron=cron, time_zone=zone, least=least)], now)
    assert found.bounds.least <= found.bounds.most == 8
