"""The metrics port: for Prometheus, and for scalers that read JSON."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tacho_operator.core.scaling.law.types import Decision
from tacho_operator.shell.metrics_server import metrics_server
from tacho_operator.shell.series import Gauges, Registry
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


HOSTILE = 'a"b\\c\nd'
SERIES = [(("ml", "x"), 1.0), (("ml", "y"), 0.0), (("ml", "z"), 1234567.25), (("ml", HOSTILE), -0.5)]


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    Gauge("up_and_running", "One.", registry=registry).set(1)
    Gauges(registry, "many", "Of each.", ("namespace", "name"), lambda: SERIES)
    Gauges(registry, "none", "Of nobody.", ("namespace",), list)
    return registry


@pytest.fixture
def url(registry: Registry, decisions: dict[Key, Decision], scrapes: list[str]) -> Iterator[str]:
    latest = {key: (decision, 2) for key, decision in decisions.items()}
    with metrics_server(0, registry, latest.get, lambda: scrapes.append("")) as port:
        yield f"http://127.0.0.1:{port}"


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_prometheus_gets_its_text_and_is_heard(url: str, scrapes: list[str]) -> None:
    assert "up_and_running 1.0" in read(f"{url}/metrics")
    assert len(scrapes) == 1


OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("accepts", ["", "text/plain;version=0.0.4", OPENMETRICS])
def test_what_is_written_at_once_reads_as_what_prometheus_client_writes(
    url: str, registry: Registry, accepts: str, packed: bool
) -> None:
    wanted = {"Accept": accepts, "Accept-Encoding": "gzip" if packed else "identity"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/metrics", headers=wanted), timeout=10
    ) as answer:
        body = answer.read()
        assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
        assert answer.headers["Content-Type"].startswith(accepts.partition(";")[0] or "text/plain")
    text = (gzip.decompress(body) if packed else body).decode()
    read, usual = read_text, generate_latest(registry).decode()
    if accepts == OPENMETRICS:
        read, usual = read_openmetrics, openmetrics.generate_latest(registry).decode()
    by_name = {family.name: family for family in read(text)}
    assert by_name == {family.name: family for family in read(usual)}
    assert {sample.labels["name"] for sample in by_name["many"].samples} == {"x", "y", "z", HOSTILE}
    assert '\nmany{name="x",namespace="ml"} 1.0\n' in text, "in the order in which it always was"


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("", True),
        ("?name[]=many", True),
        ("?name[]=tacho_operator_queue_depth&name[]=many", True),
        ("?name[]=tacho_operator_queue_depth", False),
        ("?x=y", True),
    ],
)
def test_who_asks_how_the_operator_is_does_not_have_pods_asked(
    url: str, scrapes: list[str], query: str, heard: bool
) -> None:
    read(f"{url}/metrics{query}")
    assert bool(scrapes) == heard


def test_one_metric_can_be_asked_for(url: str) -> None:
    found = read(f"{url}/metrics?name[]=many")
    assert 'many{name="x",namespace="ml"} 1.0' in found
    assert "up_and_running" not in found


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
