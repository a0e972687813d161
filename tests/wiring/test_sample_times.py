"""The load is that of the counters' own times, however late pods answer and busy the event loop is."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry

from tacho_contract.codec import dumps
from tacho_contract.report import Load
from tacho_operator.shell.loads import Loads
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.scaler import Scaler
from tests.wiring.sampled import KEY
from tools.harness.figures import CAPACITY
from tools.harness.world import World, world_of

ADDRESSES = tuple(f"127.0.4.{number}" for number in range(1, 6))
LATE = ADDRESSES[2]
POD_REQUESTS_PER_SECOND = 1.0
LATE_SECONDS = 0.4
PERIOD_SECONDS = 3.0


@contextmanager
def counting_pods(late_seconds: list[float], input_tokens: int, output_tokens: int) -> Iterator[int]:
    """Pods with requests of the measured lengths at an even rate. One waits for each of ``late_seconds``
    before it sends what it has counted. Yields the port.
    """
    began = time.monotonic()

    class Pod(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests = 1000 + POD_REQUESTS_PER_SECOND * (time.monotonic() - began)
            load = Load(
                running=1,
                waiting=0,
                generation_tokens_total=requests * output_tokens,
                prompt_tokens_total=requests * input_tokens,
                first_tokens_total=requests,
                observed_time=str(requests),
            )
            if self.connection.getsockname()[0] == LATE and late_seconds:
                time.sleep(late_seconds.pop())
            body = dumps(load).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is written."""

    with ThreadingHTTPServer(("0.0.0.0", 0), Pod) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def with_all_pods(scaler: Scaler, world: World) -> None:
    """Adds the world's resource with a pod at each address."""
    observed = world.observed()
    (pod,) = world.pods("server")
    pods = (
        {
            **pod,
            "metadata": {**pod["metadata"], "uid": address, "name": f"pod-{address}"},
            "status": {**pod["status"], "podIP": address},
        }
        for address in ADDRESSES
    )
    scaler.observed(KEY, dataclasses.replace(observed, pods=tuple(pods)))


async def test_a_late_first_answer_changes_no_load() -> None:
    """The first interval is the whole load after a start: it was 15 % too high."""
    world = world_of()
    (entry,) = world.status["measurements"]
    shape, registry = entry["workload"], CollectorRegistry()
    with counting_pods([LATE_SECONDS], shape["inputTokens"], shape["outputTokens"]) as port:
        client = PodClient(port)
        scaler = Scaler(
            Loads(client),
            period_seconds=PERIOD_SECONDS,
            call=lambda _: None,
            sink=ScalingMetrics(registry),
        )
        with_all_pods(scaler, world)
        next_at = time.monotonic() + PERIOD_SECONDS
        await scaler.sample()
        await asyncio.sleep(next_at - time.monotonic())
        await scaler.sample()
        await client.aclose()
    where = {"namespace": KEY.namespace, "name": KEY.name}
    found = registry.get_sample_value("tacho_llmdeployment_demand_replicas", where)
    assert CAPACITY.requests_per_second is not None
    truth = len(ADDRESSES) * POD_REQUESTS_PER_SECOND / CAPACITY.requests_per_second
    assert found == pytest.approx(truth, rel=0.03)
