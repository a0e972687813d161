"""What `tacho run` shows of the one pod it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacho_cli.run.serve import print_status
from tacho_cli.run.setup import DRAIN_SECONDS, RunOptions, local_setup
from tacho_cli.run.snapshot import local_status
from tacho_operator.api.conditions import find_condition
from tacho_operator.core.planner.types import Prediction
from tacho_operator.core.revisions.identity import live_config
from tools.harness.documents import plain_report
from tools.harness.resources import CLAIM_SPEC, changed, plan, resource

ORDER = RunOptions(file="-")


def test_what_is_measured_once_waits_for_no_request(tmp_path: Path) -> None:
    assert ORDER.drain_seconds == DRAIN_SECONDS
    once = RunOptions(file="-", once=True)
    setup = local_setup(resource(CLAIM_SPEC), plan(), {"models": tmp_path}, once, tmp_path)
    assert setup.runtime.drain_seconds == 0


def test_a_slow_plan_is_probed_for_longer_here_too(tmp_path: Path) -> None:
    slow = Prediction(
        expected_decode_tokens_per_second=26.0,
        expected_capacity_tokens_per_second=630.0,
        expected_capacity_concurrency=63,
    )
    silent = changed(CLAIM_SPEC, workload=None)
    live = local_setup(resource(silent), plan(predicted=slow), {"models": tmp_path}, ORDER, tmp_path).live
    assert (live.probe.budget_seconds, live.probe.timeout_seconds) == (120, 240)
    assert live.measure_key == live_config(resource(silent).spec).measure_key


@pytest.mark.parametrize("replicas", [0, 1, 3])
def test_one_replica_serves_whatever_spec_says(replicas: int, tmp_path: Path) -> None:
    setup = local_setup(
        resource(changed(CLAIM_SPEC, replicas=replicas)),
        plan(),
        {"models": tmp_path},
        ORDER,
        tmp_path,
    )
    report = plain_report(revision=setup.revision, plan_key=setup.plan_key, ready=True)
    found = find_condition(local_status(setup, plan(), report).conditions, "Ready")
    assert found is not None
    assert (found.status, found.reason, found.message) == ("True", "Serving", "1 of 1 replicas serve.")


def test_wide_and_name_are_those_of_status(capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"metadata": {"name": "smollm2", "namespace": "default"}}
    print_status(raw, {"url": "http://127.0.0.1:8000"}, "wide")
    heading, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (heading[-1], row[-1]) == ("URL", "http://127.0.0.1:8000")
    print_status(raw, {}, "name")
    assert capsys.readouterr().out == "llmdeployment.tacho.dev/smollm2\n"
