"""A namespace with more resources than the operator acts on, on a real API server."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import await_condition, bring_up, condition, resource
from tools.harness.operator_process import Kubelet, Operator, eventually

LIMIT = "TACHO_MAX_RESOURCES_PER_NAMESPACE"


def named(namespace: str, name: str) -> dict[str, Any]:
    item = resource(namespace)
    item["metadata"]["name"] = name
    return item


def await_told(api: Cluster, namespace: str, name: str, *, is_full: bool) -> None:
    def told() -> bool | None:
        status = api.get("llmd", name, "-n", namespace).get("status") or {}
        reasons = {item["type"]: item["reason"] for item in status.get("conditions") or ()}
        return ("Ready" in reasons and (reasons.get("Stalled") == "NamespaceFull") == is_full) or None

    eventually(f"{name} is{'' if is_full else ' not'} told that the namespace is full", told)


@pytest.mark.usefixtures("claim")
def test_of_a_namespace_the_oldest_are_acted_on(
    api: Cluster, account: Path, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    operator = Operator(account, tmp_path / "operator.log", **{LIMIT: "2"})
    operator.start()
    try:
        bring_up(api, kubelet, namespace)
        api.apply(named(namespace, "second"))
        await_told(api, namespace, "second", is_full=False)
        time.sleep(1.1)  # a creation is told to the second
        api.apply(named(namespace, "a-third"), named(namespace, "another"))
        for name in ("a-third", "another"):
            await_told(api, namespace, name, is_full=True)
        with urllib.request.urlopen(operator.metrics_url, timeout=30) as answer:
            assert f'unheld_resources{{namespace="{namespace}"}} 2.0' in answer.read().decode()
        assert condition(api, namespace, "Ready")["status"] == "True"
        api.kubectl("delete", "llmd", "another", "-n", namespace, "--timeout=20s")
        api.kubectl("delete", "llmd", "second", "-n", namespace, "--timeout=20s")
        await_told(api, namespace, "a-third", is_full=False)
        operator.stop()
        operator.start(**{LIMIT: "1"})
        await_told(api, namespace, "a-third", is_full=True)
        await_condition(api, namespace, "Ready", "True")
        operator.stop()
        operator.start(**{LIMIT: "2"})
        await_told(api, namespace, "a-third", is_full=False)
        await_condition(api, namespace, "Ready", "True")
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])
