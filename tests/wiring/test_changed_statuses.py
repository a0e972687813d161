"""A policy or a webhook that changes what the operator writes into a status."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.shell.api_errors import Forbidden
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.status_writes import write_status
from tests.wiring.test_execute import OTHERS, RAW, READY, STATUS, StatusServer


class Changing(StatusServer):
    """Has other values in each status than were written."""

    def __init__(self, **values: Any) -> None:
        super().__init__({"conditions": [OTHERS]})
        self._values = values

    def _changed(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.status = {key: value for key, value in {**self.status, **self._values}.items() if value}
        return {**answer, "status": self.status}

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        return self._changed(await super().apply(manifest, **options))

    async def merge(self, *given: Any, **options: Any) -> dict[str, Any]:
        return self._changed(await super().merge(*given, **options))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"summary": {"ttftMilliseconds": "9"}}, "summary"),
        ({"summary": None}, "summary"),
        ({"replicas": 5}, "replicas"),
        ({"selector": "a=b"}, "selector"),
        ({"conditions": [{**READY.to_wire(), "status": "False"}]}, "conditions"),
        ({"conditions": [{**READY.to_wire(), "type": "Stalled"}, READY.to_wire()]}, "conditions"),
    ],
)
async def test_a_status_that_is_changed_in_the_answer_is_refused(values: dict[str, Any], named: str) -> None:
    """It was written again without end, and a figure that is not the operator's stood there unsaid."""
    with pytest.raises(Forbidden, match=rf"another status \({named}\), as where a webhook"):
        await write_status(cast(Kube, Changing(**values)), RAW, STATUS)


async def test_items_of_others_are_no_change_of_it() -> None:
    assert await write_status(cast(Kube, Changing()), RAW, STATUS)
