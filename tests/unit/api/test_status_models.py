"""Every class of the status hangs on it, and every column shows something that is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from hypothesis import given
from pydantic import BaseModel

from tacho_operator.api.crd.schema import structural
from tacho_operator.api.status import measurement, status
from tacho_operator.api.status.status import EPOCH, Condition, LLMDeploymentStatus
from tacho_operator.core.planner.history import stored_status
from tests.unit.contract.test_text import foreign, hidden
from tools.crd import COLUMNS


def models(model: type) -> Iterator[type]:
    """Everything below ``model``, itself included."""
    yield model
    for annotation in get_type_hints(model).values():
        for inner in nested(annotation):
            yield from models(inner)


def nested(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        yield annotation
    for part in get_args(annotation):
        yield from nested(part)


def leaves(schema: dict[str, Any]) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield name
        yield from leaves(child)
        yield from leaves(child.get("items", {}))


def test_every_column_shows_a_field_that_is_there() -> None:
    paths = [path.rsplit(".", 1)[-1] for _, _, path, _, _ in COLUMNS if path.startswith(".status")]
    assert paths
    assert set(paths) - {"status", "reason"} <= set(leaves(structural(LLMDeploymentStatus)))


def test_a_condition_has_what_every_condition_of_kubernetes_has() -> None:
    """metav1.Condition: clients print the message without asking whether it is there."""
    schema = structural(LLMDeploymentStatus)["properties"]["conditions"]["items"]
    assert set(schema["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}


def test_a_condition_without_a_message_is_read_and_stored_with_one() -> None:
    """Else what another writer stored would make the rest of the status unreadable, or refused."""
    stored = {"type": "Audited", "status": "True", "reason": "ByHand", "lastTransitionTime": EPOCH}
    for condition in (stored, {**stored, "message": ""}):
        former = stored_status({"status": {"conditions": [condition], "replicas": 2}})
        assert former.replicas == 2
        assert former.to_wire()["conditions"] == [{**stored, "message": "ByHand"}]


def test_every_model_of_the_status_hangs_on_it() -> None:
    """A class that nothing refers to is not part of the API."""
    reached = set(models(LLMDeploymentStatus))
    for module in (measurement, status):
        own = {v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__}
        assert own <= reached, module.__name__


@given(foreign)
def test_no_text_of_the_status_hides_a_character_or_forges_a_line(text: str) -> None:
    time = "2026-01-01T00:00:00Z"
    condition = Condition(
        type="Ready", status="False", reason="Failed", message=text[:512], last_transition_time=time
    )
    wire = LLMDeploymentStatus(conditions=[condition]).to_wire()
    assert not hidden(wire["conditions"][0].get("message", ""))
