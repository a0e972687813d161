"""The metrics port: for Prometheus, and for scalers that read JSON."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from tacho_operator.core.scaling.law.types import Decision
from tacho_operator.shell.metrics_server import metrics_server
from tacho_operator.shell.workqueue import Key
from tests.unit.scaling.fleet import Fleet


@pytest.fixture
def decisions() -> dict[Key, Decision]:
    busy, silent = Fleet(replicas=2), Fleet()
    busy.run(lambda _: 3.0, 100)
    silent.replicas[0].silent = True
    silent.run(lambda _: 3.0, 20)
    return {Key("ml", "busy"): busy.decisions[-1], Key("ml", "silent"): silent.decisions[-1]}


@pytest.fixture
def scrapes() -> list[str]:
    return []


@pytest.fixture
def url(decisions: dict[Key, Decision], scrapes: list[str]) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("up_and_running", "One.", registry=registry).set(1)
    latest = {key: (decision, 2) for key, decision in decisions.items()}
    with metrics_server(0, registry, latest.get, lambda: scrapes.append("")) as port:
        yield f"http://127.0.0.1:{port}"


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_prometheus_gets_its_text_and_is_heard(url: str, scrapes: list[str]) -> None:
    assert "up_and_running 1.0" in read(f"{url}/metrics")
    assert len(scrapes) == 1


def test_a_scaler_gets_numbers(url: str, scrapes: list[str]) -> None:
    found = json.loads(read(f"{url}/scaling/ml/busy"))
    assert found["demandReplicas"] == pytest.approx(1.5)
    assert found["utilizationRatio"] == pytest.approx(0.75)
    assert (found["servingReplicas"], found["desiredReplicas"]) == (2, 2)
    assert scrapes == [], "who scales one resource has not read the others"


@pytest.mark.parametrize("path", ["ml/silent", "ml/nobody", "ml", "", "ml/busy/more"])
def test_what_is_not_known_is_no_number(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        read(f"{url}/scaling/{path}")
    assert refused.value.code == 404
    assert "Replicas" not in refused.value.read().decode()
    refused.value.close()
