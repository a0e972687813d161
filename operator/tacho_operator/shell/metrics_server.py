"""The operator's metrics port: /metrics for Prometheus, /scaling for scalers that read JSON.

    GET /scaling/NAMESPACE/NAME   {"desiredReplicas": 3, "demandReplicas": 2.4, …}

What is not known is left out and answered with 404 where nothing is: a scaler that gets no number holds, and
one that got 0 would give everything up.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import choose_encoder, gzip_accepted

from tacho_operator.core.scaling.law.types import Decision
from tacho_operator.shell.series import Registry
from tacho_operator.shell.workqueue import Key

Latest = Callable[[Key], tuple[Decision, int] | None]
PREFIX = "/scaling/"
OWN = "tacho_operator_"
END = b"# EOF\n"
"""Of the OpenMetrics format."""
GZIP_LEVEL = 1
"""Series are nearly all alike: more takes longer than it saves."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes are no news."""


class metrics_server:  # noqa: N801 - used as a with-block
    """Answers in a thread of its own, for as long as the block lasts."""

    def __init__(self, port: int, registry: Registry, latest: Latest, scraped: Callable[[], None]) -> None:
        self._port, self._registry, self._some = port, registry, make_wsgi_app(registry)
        self._latest, self._scraped = latest, scraped

    def __enter__(self) -> int:
        """The port that was taken."""
        self._server = make_server("", self._port, self._answer, WSGIServer, _Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(PREFIX):
            asked = str(environ.get("QUERY_STRING", ""))
            if not only_its_own(asked):
                self._scraped()
            if environ["REQUEST_METHOD"] == "GET" and not asked:
                return self._all(environ, start_response)
            text: Iterable[bytes] = self._some(environ, start_response)
            return text
        namespace, _, name = path.removeprefix(PREFIX).partition("/")
        found = scaling_document(self._latest(Key(namespace, name)))
        status = "200 OK" if found else "404 Not Found"
        start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(found or {"error": "nothing is known of its load"}).encode()]

    def _all(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Everything, as Prometheus asks for it."""
        encode, kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        headers = [("Content-Type", kind)]
        others = encode(self._registry.others)
        end = END if others.endswith(END) else b""
        text = "".join(gauges.text() for gauges in self._registry.gauges).encode()
        output = others.removesuffix(end) + text + end
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            output = gzip.compress(output, GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [output]


def only_its_own(query: str) -> bool:
    """Whether somebody asks for metrics of the operator alone: for these no pod has to tell its load."""
    names = parse_qs(query).get("name[]", [])
    return bool(names) and all(name.startswith(OWN) for name in names)


def scaling_document(latest: tuple[Decision, int] | None) -> Mapping[str, float]:
    """What a scaler may want to know; {} where the load is not known."""
    if latest is None or latest[0].figures.demand is None:
        return {}
    decision, serving = latest
    figures = decision.figures
    known = {
        "desiredReplicas": figures.need,
        "servingReplicas": serving,
        "demandReplicas": figures.demand,
        "utilizationRatio": figures.utilization,
        "requestsRunning": figures.running,
        "requestsWaiting": figures.waiting,
        "requestsPerSecondPerReplica": figures.trusted_requests_per_second,
    }
    return {name: value for name, value in known.items() if value is not None}
