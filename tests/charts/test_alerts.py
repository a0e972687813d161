"""The chart's alerts: when they fire and end, and that they ask for metrics that the operator has."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_operator.core.manifests.pod_template import pod_template
from tests.charts.selectors import unknown
from tools.harness.helm import ChartRefused, Helm, kinds
from tools.harness.resources import CONFIG, plan, resource

OPERATOR = 'namespace="tacho-system",service="tacho",instance="a"'
DEMO = 'namespace="ml",name="demo",instance="a"'
BEFORE, FAULT, AFTER = 60, 120, 60
"""Minutes without a fault, with it, and without it again."""
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "alerts.md"
LIVE = ROOT / "tests" / "nightly" / "alerts" / "test_alerts_live.py"


@dataclass(frozen=True)
class Fault:
    """Series around a fault, and minutes since its begin or end."""

    series: dict[str, tuple[str, str]]
    """Value without the fault and with it."""
    silent: int
    fires: int
    ended: int = 1
    labels: str = DEMO


def condition(kind: str, reason: str, status: str = "False") -> dict[str, tuple[str, str]]:
    name = f'tacho_llmdeployment_condition{{{DEMO},type="{kind}",'
    return {
        f'{name}status="True",reason="Other"}}': ("1", "none"),
        f'{name}status="{status}",reason="{reason}"}}': ("none", "1"),
    }


SLO = {
    f"tacho_llmdeployment_slo_attainment_upper_ratio{{{DEMO}}}": ("1", "0"),
    f"tacho_llmdeployment_slo_objective_ratio{{{DEMO}}}": ("0.95", "0.95"),
}
FAULTS = {
    "TachoOperatorAbsent": Fault(
        {f"tacho_operator_build_info{{{OPERATOR}}}": ("1", "none")}, 4, 6, labels=OPERATOR
    ),
    "TachoNoLeader": Fault({f"tacho_operator_leader{{{OPERATOR}}}": ("1", "0")}, 1, 3, labels=OPERATOR),
    "TachoOperatorHangs": Fault(
        {
            f"tacho_operator_leader{{{OPERATOR}}}": ("1", "1"),
            f"tacho_operator_queue_stuck_seconds{{{OPERATOR}}}": ("0", "180"),
        },
        0,
        2,
        labels=OPERATOR,
    ),
    "TachoOperatorRestarts": Fault(
        {
            f"tacho_operator_build_info{{{OPERATOR}}}": ("1", "1"),
            f"process_start_time_seconds{{{OPERATOR}}}": ("0", "1+1"),
        },
        1,
        3,
        31,
        labels=OPERATOR,
    ),
    "TachoWritesUnseen": Fault(
        {f"tacho_operator_unseen_writes_total{{{OPERATOR}}}": ("0", "1+1")}, 15, 25, 11, labels=OPERATOR
    ),
    "TachoNotReady": Fault(condition("Ready", "Downloading"), 14, 16),
    "TachoMeasurementStale": Fault(condition("Measured", "MeasurementStale"), 59, 61),
    "TachoSLOBurnsFast": Fault(SLO, 42, 48, 5),
    "TachoSLOBurnsSlowly": Fault(SLO, 38, 44, 25),
    "TachoAtMaxReplicas": Fault(condition("ScalingActive", "TooManyReplicas", "True"), 14, 16),
    "TachoPlanRefused": Fault(condition("Planned", "DoesNotFit"), 4, 6),
    "TachoRolloutFailed": Fault(condition("RolloutAccepted", "RolledBack"), 4, 6),
    # Ready stays True: another replica serves.
    "TachoGPUFault": Fault({f"tacho_llmdeployment_gpu_fault_nodes{{{DEMO}}}": ("none", "1")}, -1, 0, 11),
}


@pytest.fixture(scope="module")
def groups(helm: Helm) -> list[dict[str, Any]]:
    (rule,) = kinds(helm.template({"prometheusRule": {"enabled": True}}), "PrometheusRule")
    found: list[dict[str, Any]] = rule["spec"]["groups"]
    return found


def alerts(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def values(normal: str, faulty: str) -> str:
    """In promtool's notation: a value each minute. A series that is not there ends with a marker."""

    def lasting(value: str, minutes: int) -> str:
        return f"stale _x{minutes - 1}" if value == "none" else f"{value}x{minutes - 1}"

    before = f"_x{BEFORE}" if normal == "none" else lasting(normal, BEFORE)
    return f"{before} {lasting(faulty, FAULT)} {lasting(normal, AFTER)}"


def timing(alert: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """A test of promtool: silent before, firing in the fault, ended after."""
    labels = dict(re.findall(r'(\w+)="([^"]*)"', fault.labels))
    del labels["instance"]
    shown = alert["annotations"]["summary"].replace("{{ $labels.namespace }}", "ml")
    shown = shown.replace("{{ $labels.name }}", "demo").replace("{{ $value | humanizeDuration }}", "3m 0s")
    firing = {
        "exp_labels": {**labels, **alert["labels"]},
        "exp_annotations": {**alert["annotations"], "summary": shown},
    }
    expected = (
        (BEFORE + fault.silent, []),
        (BEFORE + fault.fires, [firing]),
        (BEFORE + FAULT + fault.ended, []),
    )
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values(*pair)} for name, pair in fault.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert["alert"], "exp_alerts": exp}
            for minute, exp in expected
        ],
    }


def one_request_in_an_idle_hour() -> dict[str, Any]:
    """That missed the SLO: nobody is called."""
    attainment, objective = SLO
    series = {attainment: f"_x{BEFORE - 1} 0 stale _x60", objective: "0.95x500"}
    burning = ("TachoSLOBurnsFast", "TachoSLOBurnsSlowly")
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": shown} for name, shown in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{BEFORE + minutes}m", "alertname": name, "exp_alerts": []}
            for name in burning
            for minutes in (3, 4, 16, 20)
        ],
    }


def test_each_alert_fires_in_time_and_ends(groups: list[dict[str, Any]], tmp_path: Path) -> None:
    rules = alerts(groups)
    assert set(rules) == set(FAULTS)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    tests = [timing(rules[name], fault) for name, fault in FAULTS.items()]
    tests.append(one_request_in_an_idle_hour())
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


NOT_LIVE = {"TachoWritesUnseen"}
"""Alerts for what a real API server does not do: it delivers what was written."""


def test_each_alert_is_one_that_fires_live() -> None:
    assert set(re.findall(r'"(Tacho\w+)"', LIVE.read_text())) == set(FAULTS) - NOT_LIVE


def test_alerts_select_what_the_operator_exports(groups: list[dict[str, Any]]) -> None:
    for name, rule in alerts(groups).items():
        assert "tacho_" in rule["expr"], name
        assert unknown(rule["expr"]) == [], name
    assert unknown('tacho_llmdeployment_condition{kind="x"} + tacho_gone') != []


def test_each_alert_has_a_section_on_what_to_do(groups: list[dict[str, Any]], helm: Helm) -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert {section.split()[0] for section in sections} == set(alerts(groups))
    for section in sections:
        for part in ("**Meaning**", "**Impact**", "**Diagnosis**", "**Mitigation**"):
            assert part in section, section.split()[0]
        assert "runbook_url" not in alerts(groups)[section.split()[0]]["annotations"], "no page is published"
    values = {"prometheusRule": {"enabled": True, "runbookUrl": "https://docs.example/alerts"}}
    (rule,) = kinds(helm.template(values), "PrometheusRule")
    for name, found in alerts(rule["spec"]["groups"]).items():
        assert found["annotations"]["runbook_url"] == f"https://docs.example/alerts#{name.lower()}"


def test_monitors_are_off_by_default_and_find_the_service(helm: Helm) -> None:
    plain = helm.template()
    assert not kinds(plain, "ServiceMonitor") + kinds(plain, "PodMonitor") + kinds(plain, "PrometheusRule")
    values = {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}}
    manifests = helm.template({"serviceMonitor": values})
    (monitor,), (service,) = kinds(manifests, "ServiceMonitor"), kinds(manifests, "Service")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint == {"port": endpoint["port"], "honorLabels": True, "interval": "15s"}
    with pytest.raises(ChartRefused, match=r"needs metrics\.enabled"):
        helm.template({"serviceMonitor": {"enabled": True}, "metrics": {"enabled": False}})


@pytest.mark.parametrize(
    ("values", "namespaces", "ports"),
    [
        ({}, {"any": True}, ["runtime"]),
        ({"podMonitor": {"engines": True}}, {"any": True}, ["runtime", "http"]),
        ({"watchNamespaces": ["ml", "web"]}, {"matchNames": ["ml", "web"]}, ["runtime"]),
    ],
)
def test_a_monitor_finds_the_ports_of_server_pods(
    helm: Helm, values: dict[str, Any], namespaces: dict[str, Any], ports: list[str]
) -> None:
    asked = {**values, "podMonitor": {"enabled": True, **values.get("podMonitor", {})}}
    (monitor,) = kinds(helm.template(asked), "PodMonitor")
    spec = monitor["spec"]
    assert spec["namespaceSelector"] == namespaces
    assert (spec["sampleLimit"], spec["bodySizeLimit"]) == (10_000, "8MB"), "anybody may label a pod"
    assert [endpoint["port"] for endpoint in spec["podMetricsEndpoints"]] == ports
    pod = pod_template(resource(), plan(), revision="smol-1", plan_key="key", config=CONFIG)
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(ports) <= {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
