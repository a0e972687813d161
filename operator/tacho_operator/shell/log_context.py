"""Which resource, and which of its reconciles, a log record is about."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextvars import ContextVar

from tacho_operator.shell.workqueue import Key

_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - never mutated


def about(key: Key) -> dict[str, str]:
    """``extra`` of a record about a resource, outside of its reconciles."""
    return {"object": f"{key.namespace}/{key.name}"}


def begin_reconcile(key: Key) -> None:
    """Adds the reconcile to all later log records of this task, the queue's on its end too."""
    _fields.set({**about(key), "reconcile_id": uuid.uuid4().hex[:8]})


def found_uid(uid: str) -> None:
    """Adds the resource's uid to the log records of the reconcile."""
    _fields.set({**_fields.get(), "uid": uid})


def log_fields() -> Mapping[str, str]:
    """Fields of a record that this task makes: object, uid and reconcile_id, as far as they are known."""
    return _fields.get()
