"""What counts as done twice by two operators."""

from __future__ import annotations

from typing import Any

import pytest

from tools.harness.done_twice import POD_NAME, done_twice


def event(
    verb: str, code: int = 200, pod: str = "one", resource: str = "services", **body: Any
) -> dict[str, Any]:
    return {
        "verb": verb,
        "objectRef": {"resource": resource, "namespace": "ml", "name": "demo"},
        "responseStatus": {"code": code},
        "user": {"extra": {POD_NAME: [pod]}},
        "requestObject": body,
    }


def patch(pod: str, spec: str = "a", **metadata: str) -> dict[str, Any]:
    return event("patch", pod=pod, metadata={"name": "demo", **metadata}, spec=spec)


def delete(pod: str, uid: str = "1", code: int = 200) -> dict[str, Any]:
    return event("delete", code, pod, preconditions={"uid": uid})


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([event("create", 201), event("create", 201, "two")], "created"),
        ([delete("one"), delete("two")], "deleted"),
        ([patch("one"), patch("two")], "patched"),
        ([patch("one", uid="1", resourceVersion="7"), patch("two", uid="1", resourceVersion="9")], "patched"),
    ],
)
def test_twice(events: list[dict[str, Any]], words: str) -> None:
    (found,) = done_twice(events)
    assert found.startswith(f"{words} services/ml/demo")


@pytest.mark.parametrize(
    "events",
    [
        [event("create", 201), event("create", 409, "two"), event("create", 403, "two")],
        [delete("one"), delete("two", code=404), delete("two", uid="2")],
        [patch("one"), patch("two", spec="b")],
        [patch("one"), patch("one")],  # as a spec that went there and back
        [event("create", 201, resource="events"), event("create", 201, "two", resource="events")],
    ],
)
def test_once(events: list[dict[str, Any]]) -> None:
    assert done_twice(events) == []
