"""What ``tacho probe NAME`` makes of the objects it looks at while it waits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_cli.probe.request import ReprobeOutcome, ended, request_text, seen, stage, tried, unanswered
from tacho_operator.core.measurement.attempts import DISRUPT
from tests.unit.cli.commands import call

OLD = {"fingerprint": "a", "observedTime": "2026-11-20T12:00:00Z"}
NEW = {"fingerprint": "a", "observedTime": "2026-11-20T13:00:00Z"}
OTHER = {"fingerprint": "b", "observedTime": "2026-11-20T11:00:00Z"}


def resource(*entries: Any, ready: str = "True") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "Serving", "message": ""}
    return {"status": {"measurements": list(entries), "conditions": [condition]}}


def live(answered: str = "", note: object = None, asked: object = None) -> dict[str, Any]:
    annotations = {
        "tacho.dev/measured-again": answered,
        "tacho.dev/measure-outcome": json.dumps(note or {}),
        "tacho.dev/measure-asked": json.dumps(asked or {}),
    }
    return {"metadata": {"annotations": annotations}}


def outcome(reason: str, request: str = "now") -> dict[str, str]:
    return {"request": request, "reason": reason, "message": "no node has room."}


BEFORE = seen(resource(OLD, OTHER))


@pytest.mark.parametrize(
    ("found", "kept", "result"),
    [
        (resource(OLD, OTHER), live("earlier"), None),
        (resource(OLD, OTHER), live("now"), None),
        (resource(NEW, OTHER), live("earlier"), None),
        (resource(NEW, OTHER), live("now"), ReprobeOutcome(entry=NEW)),
        (resource(OTHER, NEW, OLD), live("now"), ReprobeOutcome(entry=NEW)),
        (resource(NEW), live("", outcome("MeasurementProvisional")), ReprobeOutcome(entry=NEW)),
        (resource(OLD), live("", outcome("MeasurementProvisional")), None),
        (resource(OLD), live("", outcome("CannotJudge", "earlier")), None),
        (
            resource(OLD),
            live("", outcome("CannotJudge")),
            ReprobeOutcome(why="CannotJudge: no node has room. It is retried later."),
        ),
        (
            resource(OLD),
            live("now", outcome("MeasurementFailed")),
            ReprobeOutcome(why="MeasurementFailed: no node has room."),
        ),
        (
            resource(OLD),
            live("now", asked={"request": "now", "message": "Too old."}),
            ReprobeOutcome(why="Too old."),
        ),
        (resource(OLD), live("", asked={"request": "now", "message": ""}), None),
        (resource(OLD), live("", asked={"request": "earlier", "message": "Too old."}), None),
        (resource(OLD), {"metadata": {}}, None),
        (resource(OLD), live("", [1]), None),
        ({}, live("now"), None),
    ],
)
def test_a_request_ends_with_figures_or_a_reason(
    found: dict[str, Any], kept: dict[str, Any], result: ReprobeOutcome | None
) -> None:
    assert ended(found, kept, "now", BEFORE) == result


def test_a_request_that_was_tried_and_brought_nothing_says_what_there_is() -> None:
    assert tried(live("now"), "now")
    assert tried(live("", outcome("MeasurementProvisional")), "now")
    assert not tried(live("earlier", outcome("MeasurementProvisional", "earlier")), "now")
    assert not tried({"metadata": {}}, "now")
    measured = {"type": "Measured", "status": "True", "reason": "MeasurementComplete", "message": "~3."}
    there = {"status": {"conditions": [measured]}}
    why = "the measured pod has no better result than the present one."
    assert unanswered(there, live("now"), "now", BEFORE) == ReprobeOutcome(
        why=f"{why} MeasurementComplete: ~3."
    )
    disturbed = unanswered(there, live("", outcome("MeasurementProvisional")), "now", BEFORE)
    assert disturbed.provisional
    assert "no node has room." in disturbed.why


def with_runs(*runs: tuple[str, str]) -> dict[str, Any]:
    """(time, confidence) of runs of one pod."""
    kept = [{"pod": "demo-1", "time": time, "confidence": confidence} for time, confidence in runs]
    return resource({**OLD, "history": {"runs": kept}})


@pytest.mark.parametrize(
    ("runs", "provisional"),
    [
        ([], False),
        ([("1", "Provisional")], False),  # of before
        ([("1", "Provisional"), ("2", "Provisional")], True),
        ([("2", "Clean"), ("3", "Provisional")], False),
    ],
)
def test_a_serving_pod_whose_figures_something_moved_is_named(
    runs: list[tuple[str, str]], provisional: bool
) -> None:
    before = seen(with_runs(("1", "Provisional")))
    found = unanswered(with_runs(*runs), live("now"), "now", before)
    assert found.provisional is provisional
    assert ("demo-1" in found.why) is provisional


def test_each_request_is_another_one_and_says_whom_it_is_for() -> None:
    assert request_text("t", disrupt=False) == "t"
    assert request_text("t", disrupt=True).startswith(DISRUPT)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Running"}, "demo-probe-1: Running"),
        ({}, "demo-probe-1: Pending"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
            },
            "demo-probe-1: Pending, Unschedulable",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "fetch", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ],
                "containerStatuses": [{"name": "engine", "state": {"running": {}}}],
            },
            "demo-probe-1: Pending, ImagePullBackOff",
        ),
    ],
)
def test_what_it_waits_for_is_said(status: dict[str, Any], words: str) -> None:
    pod = {"metadata": {"name": "demo-probe-1"}, "status": status}
    assert stage(resource(), [pod], live(), "now") == words
    leaving = {**pod, "metadata": {"name": "demo-probe-0", "deletionTimestamp": "2026-11-20T12:00:00Z"}}
    assert stage(resource(), [leaving, pod], None, "now") == words


def test_which_serving_pod_was_told_is_said() -> None:
    told = live(asked={"request": "now", "pod": "demo-2"})
    assert stage(resource(), [], told, "now").startswith("demo-2 receives the request")
    assert stage(resource(), [], told, "later") == "requested; waiting for the operator"


def test_without_a_pod_it_waits_for_the_operator_or_for_the_deployment() -> None:
    assert stage(resource(), [], None, "now") == "requested; waiting for the operator"
    assert stage(resource(ready="False"), [], live(), "now") == "requested; not ready: Serving"
    assert stage({}, [], None, "now") == "requested; not ready: no operator has reconciled it yet"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--slo", "ttft=1s", "--concurrency", "4"], "--slo, --concurrency: for a URL only; a"),
        (["http://h", "-n", "ml"], "-n: for a deployment only"),
        (["http://h", "--disrupt"], "--disrupt: for a deployment only"),
    ],
)
def test_options_of_the_other_kind_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    told = call(capsys, "probe", *arguments)
    assert told.code == 2
    assert words in told.err
