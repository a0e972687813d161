"""Revisions that have the form of an abbreviated commit: what the hub makes of them is checked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web

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


@pytest.mark.parametrize("revision", ["beef", "0123ab", "deadbeef0" * 5])
def test_hex_digits_of_another_length_are_a_name(
    hub: RunningHub, published: InspectConfig, revision: str
) -> None:
    failure = failure_of(replace(published, revision=revision))
    assert failure.next_step == "Correct spec.model.revision."
    hub.fake.branches.append(revision)
    assert inspected_at(published, revision) == inspected_at(published, "main")
    assert not hub.asked("GET", "/refs")


def always_the_newest(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a mirror that has one version of each model."""
    original = hub.fake._commit
    monkeypatch.setattr(hub.fake, "_commit", lambda repository, _revision: original(repository, "main"))


def test_an_abbreviated_commit_in_capitals_is_the_one_that_it_begins(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = inspected_at(published, "main")
    assert commit[:12].upper() != commit[:12]
    always_the_newest(hub, monkeypatch)
    assert inspected_at(published, commit[:12].upper()) == commit
    assert not hub.asked("GET", "/refs")


def test_another_commit_in_place_of_an_abbreviated_one_is_refused(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan would have pinned it without a word."""
    always_the_newest(hub, monkeypatch)
    hub.fake.branches.append("0123abc-next")
    hub.fake.tags.append("0123abcd")
    failure = failure_of(replace(published, revision="0123abc"))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "in place of 0123abc. It lists no such branch or tag." in failure.message
    assert "all 40 digits" in failure.next_step


@pytest.mark.parametrize("kind", ["branches", "tags"])
@pytest.mark.parametrize("name", ["20260131", "deadbeef"])
def test_a_branch_or_tag_of_such_a_name_is_meant(
    hub: RunningHub, published: InspectConfig, kind: str, name: str
) -> None:
    getattr(hub.fake, kind).append(name)
    assert inspected_at(published, name) == inspected_at(published, "main")
    assert len(hub.asked("GET", "/refs")) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [(KeyError("branches"), "list of branches and tags cannot be read"), (TimeoutError(), "did not answer")],
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


@pytest.mark.parametrize("refusal", [web.HTTPForbidden, web.HTTPNotFound, web.HTTPNotImplemented])
def test_a_date_is_a_name_where_a_mirror_has_no_list_of_names(
    hub: RunningHub,
    published: InspectConfig,
    monkeypatch: pytest.MonkeyPatch,
    refusal: type[web.HTTPException],
) -> None:
    def authorize(request: web.Request, *, file: bool) -> None:
        if request.path.endswith("/refs") and not file:
            raise refusal()

    monkeypatch.setattr(hub.fake, "_authorize", authorize)
    hub.fake.branches += ["20260131", "2026013", "202601311", "deadbeef"]
    assert inspected_at(published, "20260131") == inspected_at(published, "main")
    for revision in ("2026013", "202601311", "deadbeef"):
        failure = failure_of(replace(published, revision=revision))
        assert (failure.failure_class, failure.retryable) == (FailureClass.MODEL_NOT_FOUND, False)
        assert f"in place of {revision}. Its list of branches and tags cannot be read." in failure.message
