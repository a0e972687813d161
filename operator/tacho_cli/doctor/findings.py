"""The objects that ``tacho doctor`` reads, and the form of its findings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warn", "fail", "unknown"]
Result = tuple[State, str, str]
"""(state, message, next step) of one finding."""
Objects = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    check: str
    state: State
    message: str
    next_step: str = ""

    def to_wire(self) -> dict[str, str]:
        found = {"check": self.check, "state": str(self.state), "message": self.message}
        return {**found, "nextStep": self.next_step} if self.next_step else found


class UnreadError(Exception):
    """Objects that the user may not read; the text names the missing right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The objects of the cluster that the user may read."""

    objects: dict[str, Objects | UnreadError | None]
    """Objects by kind, as kubectl names it. UnreadError: the user may not read them; None: the cluster does
    not have the kind.
    """
    rights: dict[str, bool] = field(default_factory=dict)
    """Whether the user has a right, by ``VERB RESOURCE``."""

    def known(self, kind: str) -> Objects | None:
        """The objects of a kind; None: the cluster does not have that kind. Raises UnreadError."""
        found = self.objects[kind]
        if isinstance(found, UnreadError):
            raise found
        return found

    def all_of(self, kind: str) -> Objects:
        """The objects of a kind; none where the cluster does not have that kind. Raises UnreadError."""
        return self.known(kind) or ()
