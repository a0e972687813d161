"""A field of spec that a newer CRD has, and that this operator does not know."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from tacho_contract.failure import Failure
from tacho_operator.core.status.condition_value import STEP_LIMIT_CHARS
from tacho_operator.core.status.unknown_fields import unknown_fields, unknown_note
from tacho_operator.shell.observe import read_resource
from tests.unit.api.rows import Row
from tests.unit.api.table import TABLE
from tests.unit.core.inspecting import GONE
from tools.harness.resources import CLAIM_SPEC, HUB_SPEC, changed, hub_facts
from tools.harness.world import MOCK_SPEC, World


def with_field(spec: dict[str, Any], *path: str, value: Any = True) -> dict[str, Any]:
    found = copy.deepcopy(spec)
    inner = found
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value
    return found


def messages(world: World, seconds: float) -> list[str]:
    return [event.message for event in world.reconcile(seconds).events if event.reason == "UnknownField"]


def test_it_is_named_and_the_rest_goes_on() -> None:
    """It was ignored without a word."""
    world = World(with_field(MOCK_SPEC, "context", "prefixCache"))
    world.come_up()
    world.settle(world.serve_all)
    note = "This operator's version does not know spec.context.prefixCache: upgrade it."
    assert world.condition("Planned")["message"].endswith(f" Details: {note}"), "the plan's text is whole"
    assert world.condition("Ready")["status"] == "True"


def test_an_event_tells_of_it_once() -> None:
    world = World(with_field(MOCK_SPEC, "loraAdapters", value=[{"name": "a"}]))
    told = [messages(world, 1.0) for _ in range(3)]
    assert [len(found) for found in told] == [1, 0, 0]
    assert "spec.loraAdapters" in told[0][0]
    assert "spec.loraAdapters" in world.condition("Planned")["message"], "before there is a plan, too"


@pytest.mark.parametrize(
    "row", [row for row in TABLE if not row.malformed and not row.refused], ids=lambda row: row.name
)
def test_no_field_of_this_version_is_unknown(row: Row) -> None:
    raw = {**row.document(), "metadata": {"name": "a", "namespace": "b", "uid": "u"}}
    assert unknown_fields(raw["spec"], read_resource(raw).spec) == ()


def test_items_of_lists_are_compared_and_null_is_absent() -> None:
    spec = {
        **CLAIM_SPEC,
        "engine": {"name": "vllm", "env": [{"name": "A", "value": "b", "from": "c"}]},
        "new": None,
    }
    raw = {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "a", "namespace": "b", "uid": "u"},
        "spec": spec,
    }
    assert unknown_fields(spec, read_resource(raw).spec) == ("spec.engine.env[0].from",)


def test_the_note_fits_into_a_condition() -> None:
    world = World({**CLAIM_SPEC, **{f"{'long' * 30}{number}": 1 for number in range(99)}})
    note = unknown_note(world.raw["spec"], read_resource(world.raw).spec)
    assert len(note) <= STEP_LIMIT_CHARS
    assert "and 98 more" in note


NOTE = "This operator's version does not know spec.loraAdapters: upgrade it."


def test_it_stands_beside_a_changed_token() -> None:
    """One of the two was left out."""
    spec = changed(MOCK_SPEC, model=HUB_SPEC["model"], cache=HUB_SPEC["cache"])
    world = World({**spec, "loraAdapters": [{"name": "a"}]})
    world.reconcile()
    world.inspected(hub_facts())
    world.settle(world.serve_all)
    assert world.condition("Planned")["message"].endswith(NOTE)
    world.change(model={**HUB_SPEC["model"], "tokenSecretRef": {"name": "other"}})
    world.reconcile()
    message = world.condition("Planned")["message"]
    assert "needs a new revision: give tacho.dev/replan a new value." in message
    assert message.endswith(NOTE)
    assert not messages(world, 1.0)


@pytest.mark.parametrize(
    "failure",
    [
        dataclasses.replace(GONE, log_tail=("Name or service not known",)),
        dataclasses.replace(GONE, message="No answer. Details: Name or service not known."),
    ],
)
def test_it_stands_beside_what_is_quoted(failure: Failure) -> None:
    """The words of another program, which say why there is no plan, were left out."""
    world = World({**HUB_SPEC, "loraAdapters": [{"name": "a"}]})
    world.reconcile()
    world.inspected(failure)
    world.reconcile(1.0)
    message = world.condition("Planned")["message"]
    assert message.startswith("No answer.")
    assert NOTE in message
    assert "Name or service not known" in message


@pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "a  b", "a\x00b"])
def test_an_event_tells_of_any_name_once(name: str) -> None:
    world = World({**MOCK_SPEC, name: True})
    assert [len(messages(world, 1.0)) for _ in range(3)] == [1, 0, 0]
