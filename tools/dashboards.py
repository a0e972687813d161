"""Writes the two Grafana dashboards of the chart, or with --check says which one has drifted.

python -m tools.dashboards [--check]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from tools.pages import ROOT, settle

FOLDER = ROOT / "charts/tacho/files/dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 24, 8
"""Grafana's columns, and a panel's rows."""
P = "tacho_llmdeployment_"
GPU_RATE = "rate(tacho_namespace_gpu_seconds_total"
COST_RATE = "rate(tacho_namespace_gpu_cost_total"
ALL, ONE = '{namespace=~"$namespace"', '{namespace="$namespace",name="$name"'
"""Begin of a selector of the fleet, and of one deployment."""
WHO = "{{namespace}}/{{name}}"


@dataclass(frozen=True)
class Graph:
    """One panel: its queries by legend, and the unit by Grafana's name."""

    title: str
    unit: str
    queries: dict[str, str]
    number: bool = False
    """One number instead of lines."""


def by_resource(metric: str, more: str = "") -> str:
    """The fleet's series of one metric. A change of the leader changes the instance, not the line."""
    return f"max by (namespace, name) ({P}{metric}{ALL}{more}}})"


def one(metric: str, more: str = "", by: str = "") -> str:
    return f"max{f' by ({by})' if by else ''} ({P}{metric}{ONE}{more}}})"


def ready_as(how: str = "") -> str:
    """How many resources have such a condition Ready; without one, 0 rather than nothing."""
    return f'count({P}condition{ALL},type="Ready"{how}}}) or vector(0)'


FLEET = (
    Graph("Deployments", "short", {"": ready_as()}, True),
    Graph("Not ready", "short", {"": ready_as(',status="False",reason!="ScaledToZero"')}, True),
    Graph(
        "GPU seconds per second",
        "short",
        {"": f"sum({GPU_RATE}{ALL}}}[5m]))"},
        True,
    ),
    Graph("Operators that lead", "short", {"": "sum(tacho_operator_leader)"}, True),
    Graph("Utilization", "percentunit", {WHO: by_resource("utilization_ratio")}),
    Graph("SLO attainment, at least", "percentunit", {WHO: by_resource("slo_attainment_ratio")}),
    Graph(
        "Served output tokens per second",
        "short",
        {WHO: f"sum by (namespace, name) (rate({P}output_tokens_total{ALL}}}[5m]))"},
    ),
    Graph("Ready replicas", "short", {WHO: by_resource("replicas", ',state="ready"')}),
    Graph("Waiting requests", "short", {WHO: by_resource("requests_waiting")}),
    Graph(
        "Held GPUs by use",
        "short",
        {"{{namespace}} {{use}}": f"sum by (namespace, use) ({GPU_RATE}{ALL}}}[5m]))"},
    ),
    Graph(
        "Cost per hour",
        "short",
        {"{{namespace}} {{currency}}": f"sum by (namespace, currency) ({COST_RATE}{ALL}}}[5m])) * 3600"},
    ),
    Graph(
        "Reconciles per second",
        "short",
        {
            "{{result}}": "sum by (result) (rate(tacho_operator_reconcile_total[5m]))",
            "put off, own writes unseen": "sum(rate(tacho_operator_unseen_writes_total[5m]))",
        },
    ),
    Graph("Queue", "short", {"{{priority}}": "sum by (priority) (tacho_operator_queue_depth)"}),
    Graph("Silence of watches", "s", {"{{kind}}": "max by (kind) (tacho_operator_store_age_seconds)"}),
)
DEPLOYMENT = (
    Graph("Ready", "short", {"{{reason}}": one("condition", ',type="Ready"', "reason")}, True),
    Graph("Measured", "short", {"{{reason}}": one("condition", ',type="Measured"', "reason")}, True),
    Graph(
        "Output tokens per second of a replica", "short", {"": one("measured_output_tokens_per_second")}, True
    ),
    Graph(
        "Cost of a million output tokens",
        "short",
        {"{{currency}}": one("cost_per_million_output_tokens", "", "currency")},
        True,
    ),
    Graph(
        "Replicas",
        "short",
        {"{{state}}": one("replicas", "", "state"), "by the load": one("demand_replicas")},
    ),
    Graph(
        "Output tokens per second",
        "short",
        {
            "served": f"sum(rate({P}output_tokens_total{ONE}}}[5m]))",
            "measured, of ready replicas": f"{one('measured_output_tokens_per_second')} * "
            + one("replicas", ',state="ready"'),
        },
    ),
    Graph(
        "SLO attainment",
        "percentunit",
        {
            "at least": one("slo_attainment_ratio"),
            "at most": one("slo_attainment_upper_ratio"),
            "objective": one("slo_objective_ratio"),
        },
    ),
    Graph("Utilization", "percentunit", {"utilization": one("utilization_ratio")}),
    Graph("Requests", "short", {"running": one("requests_running"), "waiting": one("requests_waiting")}),
    Graph("Latest start of a pod", "s", {"{{phase}}": one("startup_seconds", "", "phase")}),
    Graph(
        "Scaling decisions per hour",
        "short",
        {
            "{{direction}} {{reason}}": "sum by (direction, reason) "
            f"(increase({P}scaling_decisions_total{ONE}}}[1h]))"
        },
    ),
    Graph(
        "Latency of a measured replica",
        "s",
        {"TTFT": one("measured_ttft_seconds"), "TPOT": one("measured_tpot_seconds")},
    ),
)


def panel(graph: Graph, columns: int) -> stat.Panel | timeseries.Panel:
    made = (stat.Panel if graph.number else timeseries.Panel)().title(graph.title).unit(graph.unit)
    made = made.datasource(SOURCE).span(WIDTH // columns).height(HEIGHT // 2 if graph.number else HEIGHT)
    for index, (legend, query) in enumerate(graph.queries.items()):
        target = prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + index))
        made = made.with_target(target.datasource(SOURCE))
    return made


def variable(name: str, query: str, *, several: bool) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(name).query(query).datasource(SOURCE)
    made = made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return made.multi(True).include_all(True).all_value(".*") if several else made


def text(title: str, uid: str, graphs: tuple[Graph, ...]) -> str:
    """A dashboard's JSON."""
    fleet = graphs is FLEET
    made = dashboard.Dashboard(title).uid(uid).tags(["tacho"]).refresh("1m").time("now-6h", "now").readonly()
    made = made.with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    namespaces = f"label_values({P}condition, namespace)"
    made = made.with_variable(variable("namespace", namespaces, several=fleet))
    if not fleet:
        names = f'label_values({P}condition{{namespace="$namespace"}}, name)'
        made = made.with_variable(variable("name", names, several=False))
    for graph in graphs:
        made = made.with_panel(panel(graph, 4 if graph.number else 2))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def main() -> int:
    texts = {
        FOLDER / "fleet.json": text("tacho: fleet", "tacho-fleet", FLEET),
        FOLDER / "deployment.json": text("tacho: one deployment", "tacho-deployment", DEPLOYMENT),
    }
    return settle(texts, sys.argv[1:], command="make dashboards")


if __name__ == "__main__":
    sys.exit(main())
