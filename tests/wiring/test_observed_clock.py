"""What is observed depends on the time of the decisions, which is the API server's, not this machine's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from tacho_contract.report import Report
from tacho_contract.units import format_time
from tacho_operator.core.names import ROLE_LABEL
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.server_clock import utc_now
from tests.wiring.storing import KEY, owned_by, pod, thing, told
from tools.harness.figures import measured
from tools.harness.resources import CLAIM_SPEC, changed, raw_resource, resource


class Measured:
    """Of each pod the report that it has measured itself."""

    def __init__(self, time: str) -> None:
        live = live_config(resource(CLAIM_SPEC).spec)
        self._report = Report(
            runtime_version="1",
            revision="smol-1",
            plan_key="k",
            phase="Serving",
            engine="llamacpp",
            ready=True,
            observed_time=time,
            measurement=measured(live, "k", time),
        )

    async def collect(self, _key: Any, pods: list[dict[str, Any]], _live: str) -> dict[str, Report]:
        return {item["metadata"]["uid"]: self._report for item in pods}


@pytest.mark.parametrize("behind", [timedelta(hours=-30), timedelta(0), timedelta(hours=30)])
async def test_neighbours_are_looked_for_by_the_api_servers_time(behind: timedelta) -> None:
    """A machine's clock that was an hour ahead hid them: figures that they had disturbed were not flagged."""
    now = utc_now() + behind
    store, _ = told()
    raw = raw_resource(CLAIM_SPEC, resourceVersion="9")
    store.put("LLMDeployment", raw)
    store.put("LLMDeployment", thing("other", owner=""))
    for name, owner, uid in (("mine", "smol", raw["metadata"]["uid"]), ("beside", "other", "uid-other")):
        created = format_time(now - timedelta(seconds=60))
        metadata = {
            **owned_by("LLMDeployment", owner, uid),
            "labels": {"tacho.dev/deployment": owner, ROLE_LABEL: "probe"},
            "creationTimestamp": created,
        }
        store.put("Pod", pod(name, node="n1", metadata=metadata))
    reports = cast(Reports, Measured(format_time(now)))
    found = await Observer(store, reports, clock=lambda: now).observe(KEY)
    assert found is not None
    assert "beside" in [item.name for item in found.neighbours]


async def test_a_write_of_replicas_has_the_api_servers_time() -> None:
    now = utc_now() - timedelta(days=3)
    store, _ = told()
    observer = Observer(store, Reports(PodClient(), late=lambda key: None), clock=lambda: now)
    for version, replicas in (("8", 1), ("9", 3)):
        spec = changed(CLAIM_SPEC, replicas=replicas, autoscaling={"minReplicas": 1, "maxReplicas": 4})
        store.put("LLMDeployment", raw_resource(spec, resourceVersion=version))
        found = await observer.observe(KEY)
    assert found is not None
    assert found.replicas_written == now
