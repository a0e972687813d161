"""What the runtime's paths answer. All but /load come from memory, so that a busy engine delays none."""

from __future__ import annotations

from tacho_contract import codec
from tacho_runtime.http.server import JSON, Answer, Route
from tacho_runtime.supervisor import lifecycle
from tacho_runtime.supervisor.report import encode
from tacho_runtime.supervisor.supervise import Supervisor


def make_routes(supervisor: Supervisor) -> dict[str, Route]:
    """Path to answer."""

    def verdict(answer: lifecycle.Verdict) -> Answer:
        return Answer(status=200 if answer.ok else 503, body=f"{answer.reason}\n".encode())

    async def livez() -> Answer:
        return verdict(lifecycle.liveness(supervisor.state, now=supervisor.clock.monotonic()))

    async def readyz() -> Answer:
        return verdict(lifecycle.readiness(supervisor.state, now=supervisor.clock.monotonic()))

    async def report() -> Answer:
        return Answer(body=encode(supervisor.report()).encode(), content_type=JSON)

    async def load() -> Answer:
        return Answer(body=codec.dumps(await supervisor.load()).encode(), content_type=JSON)

    async def metrics() -> Answer:
        from prometheus_client.registry import CollectorRegistry

        from tacho_runtime.http.metrics import CONTENT_TYPE_LATEST, RuntimeCollector, render

        registry = CollectorRegistry()
        registry.register(RuntimeCollector(supervisor.report))
        return Answer(body=render(registry), content_type=CONTENT_TYPE_LATEST)

    return {"/livez": livez, "/readyz": readyz, "/report": report, "/load": load, "/metrics": metrics}
