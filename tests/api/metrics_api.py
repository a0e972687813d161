"""The metrics an autoscaler asks for, from an API server of our own behind the cluster's aggregation layer.

What metrics-server and a metrics adapter are elsewhere: HTTPS, known by APIServices, spoken to by the API
server only. What the pods use is what the test says.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tools.cluster.certs import Authority, KeyPair
from tools.cluster.handle import Cluster
from tools.harness.operator_process import eventually

RESOURCE_METRICS, EXTERNAL_METRICS = "metrics.k8s.io", "external.metrics.k8s.io"
SERVICE, SERVICE_NAMESPACE = "metrics", "kube-system"
NEIGHBOUR_MILLICORES = 7000


class Metrics:
    """One deployment's load, shared evenly by its Ready servers. All other pods are busy beyond measure."""

    def __init__(self, cluster: Cluster, deployment: str) -> None:
        self._cluster = cluster
        self._servers = {"tacho.dev/deployment": deployment, "tacho.dev/role": "server"}
        self.millicores = 0
        self.external: dict[str, int] = {}
        """Totals by the metric's name."""
        self.selectors: set[str] = set()
        """Every selector that pods were asked for by."""

    def of_pods(self, namespace: str, selector: str) -> dict[str, Any]:
        """A PodMetricsList of the pods that match, as metrics-server makes it."""
        self.selectors.add(selector)
        found = self._cluster.get("pods", "-n", namespace, "-l", selector)["items"]
        servers = [pod for pod in found if self._servers.items() <= pod["metadata"]["labels"].items()]
        ready = [pod["metadata"]["name"] for pod in servers if _is_ready(pod)]
        usage = {pod["metadata"]["name"]: NEIGHBOUR_MILLICORES for pod in found if pod not in servers}
        usage |= {name: self.millicores // len(ready) for name in ready}
        items = [
            {
                "metadata": {"name": name, "namespace": namespace},
                "timestamp": _now(),
                "window": "1s",
                "containers": [{"name": "engine", "usage": {"cpu": f"{used}m", "memory": "1Gi"}}],
            }
            for name, used in usage.items()
        ]
        return {"kind": "PodMetricsList", "apiVersion": f"{RESOURCE_METRICS}/v1beta1", "items": items}

    def of_external(self, name: str) -> dict[str, Any]:
        """An ExternalMetricValueList with the one total of that name."""
        value = {
            "metricName": name,
            "metricLabels": {},
            "timestamp": _now(),
            "value": str(self.external[name]),
        }
        version = f"{EXTERNAL_METRICS}/v1beta1"
        return {"kind": "ExternalMetricValueList", "apiVersion": version, "metadata": {}, "items": [value]}

    def answer(self, target: str) -> dict[str, Any] | None:
        """The document at this path and query; None: there is none."""
        url = urlsplit(target)
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        match url.path.strip("/").split("/"):
            case ["apis", group, "v1beta1"] if group in (RESOURCE_METRICS, EXTERNAL_METRICS):
                return _discovery(group)
            case ["apis", "metrics.k8s.io", "v1beta1", "namespaces", namespace, "pods"]:
                return self.of_pods(namespace, selector)
            case ["apis", "external.metrics.k8s.io", "v1beta1", "namespaces", _, name]:
                return self.of_external(name)
        return None


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _discovery(group: str) -> dict[str, Any]:
    pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics"}
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/v1beta1",
        "resources": [{**pods, "verbs": ["get", "list"]}] if group == RESOURCE_METRICS else [],
    }


@contextlib.contextmanager
def serving(metrics: Metrics, pair: KeyPair, clients: KeyPair) -> Iterator[int]:
    """Answers on a port of loopback, to clients with a certificate of ``clients`` only."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = metrics.answer(self.path)
            body = json.dumps(found or {}).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up, or shows no certificate, is not this server's trouble."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(clients.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def registered(cluster: Cluster, metrics: Metrics) -> Iterator[Metrics]:
    """Both metrics APIs, served for as long as this lasts."""
    authority = Authority(cluster.directory / "pki")
    pair = authority.server("metrics", "metrics", [f"{SERVICE}.{SERVICE_NAMESPACE}.svc"])
    names = [f"v1beta1.{group}" for group in (RESOURCE_METRICS, EXTERNAL_METRICS)]
    with serving(metrics, pair, authority.pair) as port:
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": SERVICE, "namespace": SERVICE_NAMESPACE},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
            },
            *(_api_service(name, authority.pair, port) for name in names),
        )
        try:
            eventually("the metrics APIs", lambda: _available(cluster, names) or None)
            yield metrics
        finally:
            cluster.kubectl("delete", "apiservice", *names)
            cluster.kubectl("delete", "service", SERVICE, "-n", SERVICE_NAMESPACE)


def _api_service(name: str, authority: KeyPair, port: int) -> dict[str, Any]:
    version, _, group = name.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": version,
            "service": {"name": SERVICE, "namespace": SERVICE_NAMESPACE, "port": port},
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
        },
    }


def _available(cluster: Cluster, names: list[str]) -> bool:
    found = cluster.get("apiservice", *names)["items"]
    conditions = [item for service in found for item in service.get("status", {}).get("conditions") or ()]
    return [item["status"] for item in conditions if item["type"] == "Available"] == ["True"] * len(names)
