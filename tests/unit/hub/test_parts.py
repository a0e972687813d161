"""Parts of files that a hub sends otherwise than requested, while a model is inspected."""

from __future__ import annotations

import pytest

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import facts_for


def test_another_part_than_requested_is_refused(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.shift = 1
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert "it sent bytes" in failure.message


def test_an_answer_that_is_cut_is_asked_for_again(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.mock.hub.PIECE_BYTES", 16)
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 16, 1
    assert facts_of(published).tensors == facts_for("small").tensors


def test_a_part_that_comes_in_smaller_parts_is_no_damaged_model(
    hub: RunningHub, published: InspectConfig
) -> None:
    """As HTTP allows a server, and mirrors do. The model would have been told to be cut short, for ever."""
    hub.fake.faults.part_bytes = 1000
    assert facts_of(published).tensors == facts_for("small").tensors
    hub.fake.faults.part_bytes = 1
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)
    assert "in 64 answers" in failure.message
