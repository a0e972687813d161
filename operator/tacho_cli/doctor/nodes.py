"""The check of nodes: which ones accept new pods. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_cli.doctor.findings import Facts, Result
from tacho_cli.doctor.gpus import offered_gpus
from tacho_contract.units import counted, listed
from tacho_operator.core.pods.nodes import node_facts


def check_nodes(facts: Facts) -> Iterator[Result]:
    """Findings about nodes that accept no new pods. Nodes with GPUs are named by the check of GPUs."""
    nodes = [node_facts(item) for item in facts.all_of("nodes")]
    usable = sum(node.ready and not node.unschedulable for node in nodes)
    text = f"{usable} of {counted(len(nodes), 'node')} can take new pods."
    yield (("ok", text, "") if usable else ("warn", text, "Uncordon or add a node: pods stay Pending."))
    others = [node for node in nodes if not offered_gpus(node)]
    if lost := [node.name for node in others if not node.ready]:
        yield "warn", f"Not ready: {listed(lost)}.", f"kubectl describe node {lost[0]}"
    if cordoned := [node.name for node in others if node.ready and node.unschedulable]:
        step = f"kubectl uncordon {cordoned[0]}, once its maintenance has ended."
        yield "warn", f"Cordoned: {listed(cordoned)}.", step
