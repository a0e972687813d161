"""Debian's Prometheus on this machine, with the chart's rules and the target that its monitor names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.nightly.scalers.prometheus import Prometheus, is_ready
from tools.cluster.ports import free_port
from tools.cluster.processes import Processes, dying_with_parent
from tools.harness.helm import Helm, kinds

READY_SECONDS = 60
SECONDS_OF_A_WINDOW = 10
SECONDS_OF_RESTARTS = 60
SECONDS_FOR = 2
LONGEST_STUCK = "> 120"
"""Seconds in the chart's rule on an operator that hangs."""
VALUES = {"serviceMonitor": {"enabled": True, "interval": "2s"}, "prometheusRule": {"enabled": True}}


def shortened(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rules with seconds for minutes."""
    for group in groups:
        for rule in group["rules"]:
            rule["for"] = f"{SECONDS_FOR}s"
            seconds = SECONDS_OF_RESTARTS if "changes(" in rule["expr"] else SECONDS_OF_A_WINDOW
            windows = re.sub(r"\[\d+[mh]\]", f"[{seconds}s]", rule["expr"])
            rule["expr"] = windows.replace(LONGEST_STUCK, "> 5")
    return groups


def configuration(manifests: list[dict[str, Any]], address: str, rules: Path) -> dict[str, Any]:
    """What the Prometheus Operator makes of the ServiceMonitor, for one pod at ``address``."""
    (monitor,), (service,) = kinds(manifests, "ServiceMonitor"), kinds(manifests, "Service")
    (endpoint,) = monitor["spec"]["endpoints"]
    names = {"namespace": service["metadata"]["namespace"], "service": service["metadata"]["name"]}
    job = {
        "job_name": names["service"],
        "honor_labels": endpoint["honorLabels"],
        "static_configs": [{"targets": [address], "labels": names}],
    }
    every = {"scrape_interval": endpoint["interval"], "scrape_timeout": endpoint["interval"]}
    return {
        "global": {**every, "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [job],
    }


@contextlib.contextmanager
def running(helm: Helm, folder: Path, address: str) -> Iterator[Prometheus]:
    """It scrapes the operator at ``address``, whether that runs or not."""
    manifests = helm.template(VALUES)
    (rule,) = kinds(manifests, "PrometheusRule")
    rules, settings, port = folder / "rules.yml", folder / "prometheus.yml", free_port()
    rules.write_text(yaml.safe_dump({"groups": shortened(rule["spec"]["groups"])}))
    settings.write_text(yaml.safe_dump(configuration(manifests, address, rules)))
    processes = Processes(folder, dying_with_parent())
    processes.start(
        "prometheus",
        [
            "prometheus",
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder / 'store'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        processes.wait_until(
            "Prometheus is ready", lambda: is_ready(found.url), READY_SECONDS, blame="prometheus"
        )
        yield found
    finally:
        processes.stop()
