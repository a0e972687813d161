"""What is observed depends on the time of the decisions, which is the API server's, not this machine's."""

from __future__ import annotations

from datetime import timedelta

from tacho_operator.shell.observe import Observer, utc_now
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.reports import Reports
from tests.wiring.storing import KEY, told
from tools.harness.resources import CLAIM_SPEC, changed, raw_resource


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
