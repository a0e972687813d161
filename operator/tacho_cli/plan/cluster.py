"""Reads the cluster for planning by ``kubectl``, so that the user's own login and rights apply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tacho_cli.inputs.kubectl import RESOURCE, KubectlTarget, kubectl, last_lines, parsed
from tacho_cli.problems import CommandError
from tacho_operator.core.measurement.history import history_from, stored_status
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.types import NodeFacts, PastMeasurement

OTHERWISE = (
    "install it, or save the nodes where it is (kubectl get nodes -o json > nodes.json) and plan with "
    "--nodes nodes.json"
)
FILE_LIMIT_BYTES = 256 * 1024 * 1024
"""A node takes 10 to 40 KB as JSON: clusters of 5000 nodes fit."""


def saved_nodes(file: str) -> tuple[NodeFacts, ...]:
    """The nodes in the output of ``kubectl get nodes -o json`` (or yaml). Raises CommandError."""
    wanted = f"{file}: save them with: kubectl get nodes -o json > {file}"
    try:
        if Path(file).stat().st_size > FILE_LIMIT_BYTES:
            raise CommandError(
                f"{file}: larger than {FILE_LIMIT_BYTES >> 20} MiB; a list of nodes is expected"
            )
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", wanted) from None
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not text", wanted) from None
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise CommandError(f"{file}: neither JSON nor YAML: {error}", wanted) from None
    return _nodes(document, file)


def _nodes(document: Any, where: str) -> tuple[NodeFacts, ...]:
    wanted = "a list of nodes is expected, as kubectl get nodes -o json prints it"
    if not isinstance(document, dict):
        raise CommandError(f"{where}: {wanted}")
    items = [document] if document.get("kind") == "Node" else document.get("items")
    if not isinstance(items, list):
        raise CommandError(f"{where}: {wanted}")
    kinds = {str(item.get("kind", "Node")) if isinstance(item, dict) else "?" for item in items}
    if kinds - {"Node"}:
        raise CommandError(f"{where}: holds {', '.join(sorted(kinds - {'Node'}))}; {wanted}")
    try:
        return tuple(node_facts(item) for item in items)
    except (AttributeError, KeyError, TypeError) as error:
        raise CommandError(f"{where}: a node in it is malformed ({error!r}); {wanted}") from None


def read_nodes(target: KubectlTarget) -> tuple[tuple[NodeFacts, ...] | None, str]:
    """The cluster's nodes, or None and a note where the person may not list them. Raises CommandError."""
    found = kubectl(target, "get", "nodes", advice=OTHERWISE)
    if found.returncode == 0:
        return _nodes(parsed(found.stdout), "kubectl get nodes"), ""
    if "forbidden" in found.stderr.lower():
        return None, "no permission to list nodes: the catalog describes the GPUs of the manifest"
    raise CommandError("kubectl get nodes failed:", *last_lines(found.stderr))


def read_history(target: KubectlTarget) -> tuple[tuple[PastMeasurement, ...], str]:
    """Past measurements of the namespace; empty with a note where reading fails."""
    found = kubectl(target, "get", RESOURCE)
    if found.returncode != 0:
        why = " ".join(last_lines(found.stderr))
        return (), f"earlier measurements are not used: {why}"
    items = parsed(found.stdout).get("items") or []
    return history_from(map(stored_status, items)), ""
