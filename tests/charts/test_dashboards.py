"""The chart's dashboards ask for what the operator exports. That Grafana draws them is not proved."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.charts.selectors import unknown
from tools.harness.helm import CHART, Helm, kinds

FOLDER = CHART / "files" / "dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
AGGREGATED = r"\w+(?: by \(([^)]*)\))? ?\("


def test_each_query_asks_for_what_is_exported_and_each_legend_for_a_label_of_it() -> None:
    assert set(DASHBOARDS) == {"fleet", "deployment"}
    for name, dashboard in DASHBOARDS.items():
        assert len(dashboard["panels"]) > 10
        for panel in dashboard["panels"]:
            references = [target["refId"] for target in panel["targets"]]
            assert references, (name, panel["title"])
            assert len(set(references)) == len(references), (name, panel["title"])
            for target in panel["targets"]:
                query = target["expr"]
                assert unknown(query) == [], (name, panel["title"])
                grouped = re.match(AGGREGATED, query)
                assert grouped, f"{query}: one series a line, whichever operator leads"
                kept = {label.strip() for label in (grouped[1] or "").split(",")}
                shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert shown == kept - {""}, (name, panel["title"])


def test_each_variable_of_a_query_is_one_of_the_dashboard() -> None:
    for dashboard in DASHBOARDS.values():
        variables = {item["name"]: item["query"] for item in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
        assert used == set(variables)
        for name, query in variables.items():
            assert name == "datasource" or unknown(query) == []


def test_the_sidecar_finds_both(helm: Helm) -> None:
    def maps(values: dict[str, Any]) -> list[dict[str, Any]]:
        found = kinds(helm.template(values), "ConfigMap")
        return [item for item in found if "-dashboard-" in item["metadata"]["name"]]

    assert maps({}) == []
    labels = {"grafana_dashboard": "1", "team": "ml"}
    found = maps({"grafana": {"dashboards": {"enabled": True, "labels": labels}}})
    rendered = [json.loads(text) for item in found for text in item["data"].values()]
    assert sorted(rendered, key=str) == sorted(DASHBOARDS.values(), key=str)
    for item in found:
        assert labels.items() <= item["metadata"]["labels"].items()
