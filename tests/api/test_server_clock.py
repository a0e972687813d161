"""The API server's clock, by which the operator decides where its own is wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tacho_operator.shell.kube import connect
from tacho_operator.shell.server_clock import AGREE, ServerClock, utc_now
from tools.cluster.handle import Cluster


@pytest.mark.parametrize("name", ["kubernetes", "absent"])
async def test_each_answer_of_it_has_the_time(api: Cluster, name: str) -> None:
    clock = ServerClock(lambda: utc_now() - timedelta(hours=2))
    async with connect(str(api.kubeconfig), clock=clock) as kube:
        await kube.get("Service", "default", name)
    assert abs(clock() - utc_now()) < AGREE
