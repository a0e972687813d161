"""Adds to each log record which resource, and which reconcile of it, the record is about."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from tacho_operator.shell.workqueue import Key

_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))


def about(key: Key) -> dict[str, str]:
    """The argument ``extra`` for a log record about a resource, outside of its reconciles."""
    return {"object": f"{key.namespace}/{key.name}"}


def begin_reconcile(key: Key) -> None:
    """Marks all later log records of this asyncio task with the resource and a new reconcile id."""
    _fields.set({**about(key), "reconcile_id": uuid.uuid4().hex[:8]})


def found_uid(uid: str) -> None:
    """Adds the resource's uid to the later log records of this reconcile."""
    _fields.set({**_fields.get(), "uid": uid})


def log_fields() -> Mapping[str, str]:
    """The fields object, uid and reconcile_id for log records of the present task, as far as they are
    known."""
    return _fields.get()
