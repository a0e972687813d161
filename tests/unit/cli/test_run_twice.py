"""``tacho run`` a second time, while the first run of the same file serves at the same ports."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tacho_cli.run.serve import LocalPod
from tacho_cli.run.setup import RunOptions, local_setup
from tacho_contract.codec import dumps
from tools.cluster.ports import free_port
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.resources import CLAIM_SPEC, plan, resource


async def test_the_figures_of_the_first_are_not_those_of_the_second(tmp_path: Path) -> None:
    order = dataclasses.replace(RunOptions(file="-"), port=free_port(), report_port=free_port())
    setup = local_setup(resource(CLAIM_SPEC), plan(), {"models": tmp_path}, order, tmp_path)
    time = "2026-11-20T12:00:00Z"
    keys = {"plan_key": setup.plan_key, "observed_time": time}
    measured = plain_measurement(measure_key=setup.live.measure_key, **keys)
    first = plain_report(
        revision=setup.revision,
        ready=True,
        measurement=measured,
        pod_uid="4dd8e6ae-8f62-4b0c-9f6e-2f8d1b8f0a11",
        **keys,
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = dumps(first).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", order.report_port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            second = LocalPod(setup, tmp_path, lambda _: None)  # its runtime is still starting
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.until_ready(), 2)
        finally:
            server.shutdown()
