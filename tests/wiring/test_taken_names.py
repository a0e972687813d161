"""A child whose name an object without an owner has."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.core.types import Observed, ReconcileDecision
from tacho_operator.shell.api_errors import Conflict
from tacho_operator.shell.child_backoff import Backoff
from tacho_operator.shell.execute import execute
from tacho_operator.shell.kube import Kube
from tests.wiring.test_execute import RAW, Server, child, collided
from tools.harness.resources import NOW


@pytest.mark.parametrize("is_held", [False, True])
async def test_an_object_without_an_owner_is_told_so(*, is_held: bool) -> None:
    """Of a child whose owner references were removed it said that it has another owner."""
    unowned = child("ConfigMap", "now", uid="live", ownerReferences=[])
    wanted = {**child("ConfigMap", "now"), "data": {"a": "1"}}
    if is_held:  # the store has not seen yet that it lost its owner
        server = Server(child=Conflict(409, "Precondition failed"))
        server.held = unowned
        observed = Observed(
            raw=RAW, resource=cast(Any, None), config_maps=(child("ConfigMap", "now", uid="live"),)
        )
        decision = ReconcileDecision(status=None, reason="", now=NOW, apply=(wanted,))
        found = await execute(cast(Kube, server), observed, decision, Backoff())
    else:
        _, found = await collided(unowned, wanted)
    assert [(refusal.taken, refusal.unowned) for refusal in found.refusals] == [(True, True)]
