"""What the runtime's paths answer. All but /load come from memory, so that a busy engine delays none."""

from __future__ import annotations

import time

from tacho_contract import codec
from tacho_runtime.http.server import JSON, HttpAnswer, Route
from tacho_runtime.supervisor import lifecycle
from tacho_runtime.supervisor.documents import encode
from tacho_runtime.supervisor.supervise import Supervisor


def make_routes(supervisor: Supervisor) -> dict[str, Route]:
    """The runtime's HTTP routes: path to handler."""

    def verdict(answer: lifecycle.Verdict) -> HttpAnswer:
        return HttpAnswer(status=200 if answer.ok else 503, body=f"{answer.reason}\n".encode())

    async def livez() -> HttpAnswer:
        return verdict(lifecycle.liveness(supervisor.state, now=time.monotonic()))

    async def readyz() -> HttpAnswer:
        return verdict(lifecycle.readiness(supervisor.state, now=time.monotonic()))

    async def report() -> HttpAnswer:
        return HttpAnswer(body=encode(supervisor.report()).encode(), content_type=JSON)

    async def load() -> HttpAnswer:
        return HttpAnswer(body=codec.dumps(await supervisor.load()).encode(), content_type=JSON)

    async def metrics() -> HttpAnswer:
        from tacho_runtime.http.metrics import CONTENT_TYPE_LATEST, render

        body = render(supervisor.report(), lifecycle.PHASES)
        return HttpAnswer(body=body, content_type=CONTENT_TYPE_LATEST)

    return {"/livez": livez, "/readyz": readyz, "/report": report, "/load": load, "/metrics": metrics}
