"""What a NetworkPolicy means: whether a connection is let in, decided as the API's documentation says."""

from __future__ import annotations

from typing import Any


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not held:
            return False
    return True


def admits(policy: dict[str, Any], pod: dict[str, Any], *, namespace: str, port: int) -> bool:
    """Whether a pod of ``namespace`` may connect to ``port`` of ``pod``, were this the only policy."""
    spec = policy["spec"]
    if not selects(spec["podSelector"], pod["metadata"]["labels"]) or "Ingress" not in spec["policyTypes"]:
        return True
    numbers = {
        item["name"]: item["containerPort"]
        for container in pod["spec"]["containers"]
        for item in container.get("ports", [])
    }
    space = {"kubernetes.io/metadata.name": namespace}
    for rule in spec.get("ingress", []):
        ports = {numbers.get(item["port"], item["port"]) for item in rule.get("ports", [])}
        if ports and port not in ports:
            continue
        sources = rule.get("from", [])
        if not sources or any(selects(source["namespaceSelector"], space) for source in sources):
            return True
    return False
