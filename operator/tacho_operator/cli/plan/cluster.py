"""What planning reads of a cluster, by ``kubectl``, so that the person's own login and rights apply."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tacho_operator.cli.output.problems import CommandError
from tacho_operator.core.measurement.history import history_from, stored_status
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.types import History, NodeFacts

REQUEST_SECONDS = 20
"""Given to each request; a cluster that is gone must not hang the command."""
FILE_LIMIT_BYTES = 256 * 1024 * 1024
"""A node takes 10 to 40 KB as JSON: clusters of 5000 nodes fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cluster as kubectl's options name it; "" leaves the choice to the kubeconfig."""

    context: str = ""
    kubeconfig: str = ""
    namespace: str = ""

    def described(self) -> str:
        return f"context {self.context}" if self.context else "the current cluster"


def saved_nodes(file: str) -> tuple[NodeFacts, ...]:
    """The nodes in what ``kubectl get nodes -o json`` (or yaml) printed. Raises CommandError."""
    wanted = f"{file}: save them with: kubectl get nodes -o json > {file}"
    try:
        if Path(file).stat().st_size > FILE_LIMIT_BYTES:
            raise CommandError(f"{file}: larger than {FILE_LIMIT_BYTES >> 20} MiB; a list of nodes is wanted")
        text = Path(file).read_text()
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
    wanted = "a list of nodes is wanted, as kubectl get nodes -o json prints it"
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


def read_nodes(target: Target) -> tuple[tuple[NodeFacts, ...] | None, str]:
    """The cluster's nodes, or None and a note where the person may not list them. Raises CommandError."""
    found = _kubectl(target, "get", "nodes")
    if found.returncode == 0:
        return _nodes(_parsed(found.stdout), "kubectl get nodes"), ""
    if "forbidden" in found.stderr.lower():
        return None, "you may not list nodes: the GPUs that the manifest names are planned from the catalog"
    raise CommandError("kubectl get nodes failed:", *_last_lines(found.stderr))


def read_history(target: Target) -> tuple[tuple[History, ...], str]:
    """What the namespace has measured; nothing and a note where that cannot be read."""
    found = _kubectl(target, "get", "llmdeployments.tacho.dev")
    if found.returncode != 0:
        why = " ".join(_last_lines(found.stderr))
        return (), f"nothing is learned from earlier measurements: {why}"
    items = _parsed(found.stdout).get("items") or []
    return history_from(map(stored_status, items)), ""


def _kubectl(target: Target, *command: str) -> subprocess.CompletedProcess[str]:
    options = {"context": target.context, "kubeconfig": target.kubeconfig, "namespace": target.namespace}
    given = [f"--{option}={value}" for option, value in options.items() if value]
    try:
        return subprocess.run(
            ["kubectl", *given, f"--request-timeout={REQUEST_SECONDS}s", *command, "-o", "json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=REQUEST_SECONDS * 3,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(
            "kubectl is not installed, and it is what reads the cluster: install it, or save the nodes where "
            "it is (kubectl get nodes -o json > nodes.json) and plan with --nodes nodes.json"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError("kubectl did not answer: check the context and the network") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError("kubectl did not print JSON: try kubectl get nodes -o json by hand")
    return document


def _last_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()[-3:]] or ["it gave no reason"]
