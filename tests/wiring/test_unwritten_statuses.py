"""Which failed writes of a status are told, and from when on they are counted anew."""

from __future__ import annotations

import pytest

from tacho_operator.shell.api_errors import ApiError, Fenced
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.unwritten_statuses import MIN_FAILED_WRITES, UnwrittenStatuses
from tacho_operator.shell.workqueue import Key
from tests.wiring.reconciling import KEY, Server, reconciler
from tools.harness.world import World


def server_of_a_waiting_resource() -> Server:
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    return Server(world)


async def gone(_key: Key) -> None:
    """No resource is observed."""


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_written_status_and_a_deletion_end_the_row(
    is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures that are days apart would tell of a status that is never written."""
    server = server_of_a_waiting_resource()
    reconcile = reconciler(server)
    for _ in range(2):
        server.refuses = True
        for _ in range(MIN_FAILED_WRITES - 1):
            with pytest.raises(ApiError):
                await reconcile(KEY)
        assert server.created.count("Event") == 0
        if is_deleted:
            with monkeypatch.context() as deleted:
                deleted.setattr(server, "observe", gone)
                await reconcile(KEY)
        else:
            server.refuses = False
            await reconcile(KEY)
            server.created.clear()
            server.status.clear()


def test_an_operator_that_no_longer_leads_tells_nothing() -> None:
    """The one that leads writes the status."""
    unwritten = UnwrittenStatuses()
    assert [unwritten.problem(KEY, Fenced(403, "another leads")) for _ in range(8)] == [None] * 8


async def test_a_status_whose_answer_is_too_long_to_be_read_is_written() -> None:
    server = server_of_a_waiting_resource()
    server.refuses, server.answer = False, {METADATA_ONLY: "it is too long"}
    await reconciler(server)(KEY)
    assert server.status["conditions"]
