"""Revisions that have the form of an abbreviated commit: what the hub makes of them is checked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of, failure_of


def inspected_at(published: InspectConfig, revision: str) -> str:
    return facts_of(replace(published, revision=revision)).files.commit


@pytest.mark.parametrize("digits", [7, 12, 39, 40])
def test_an_abbreviated_commit_is_the_one_that_it_begins(published: InspectConfig, digits: int) -> None:
    commit = inspected_at(published, "main")
    assert inspected_at(published, commit[:digits]) == commit


def test_one_that_the_hub_does_not_know_is_absent_and_the_step_names_its_length(
    published: InspectConfig,
) -> None:
    failure = failure_of(replace(published, revision="0123abc"))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "no revision '0123abc'" in failure.message
    assert "all 40 digits" in failure.next_step
    other = failure_of(replace(published, revision="v9"))
    assert "40 digits" not in other.next_step


def test_another_commit_in_place_of_an_abbreviated_one_is_refused(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a mirror that has one version of each model. The plan would have pinned it without a word."""
    original = hub.fake._commit
    monkeypatch.setattr(hub.fake, "_commit", lambda repository, _revision: original(repository, "main"))
    failure = failure_of(replace(published, revision="0123abc"))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "in place of 0123abc" in failure.message
    assert "all 40 digits" in failure.next_step


@pytest.mark.parametrize("name", ["20260131", "deadbeef"])
def test_a_branch_of_such_a_name_is_that_branch(hub: RunningHub, published: InspectConfig, name: str) -> None:
    hub.fake.branches.append(name)
    assert inspected_at(published, name) == inspected_at(published, "main")
    assert len(hub.asked("GET", "/refs")) == 1


@pytest.mark.parametrize(
    ("error", "message"), [(KeyError("branches"), "no such branch"), (TimeoutError(), "did not answer")]
)
def test_without_a_list_of_names_such_a_revision_is_not_guessed(
    hub: RunningHub,
    published: InspectConfig,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    hub.fake.branches.append("deadbeef")
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", fail)
    failure = failure_of(replace(published, revision="deadbeef"))
    assert message in failure.message
    assert failure.retryable == isinstance(error, TimeoutError)
