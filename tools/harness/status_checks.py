"""Whether a status is one that the API server would take and give back."""

from __future__ import annotations

from typing import Any

from tacho_operator.api.status.status import LLMDeploymentStatus


def plain(document: Any) -> Any:
    """The document in plain JSON types, as the API server returns it."""
    if isinstance(document, dict):
        return {str.__str__(key): plain(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [plain(item) for item in document]
    return str.__str__(document) if isinstance(document, str) else document


def assert_status_is_valid(status: dict[str, Any]) -> None:
    """The API's own types take it, know every field of it, and nothing of it gets lost."""
    if not status:
        return
    assert plain(status) == LLMDeploymentStatus.model_validate(status).to_wire()
