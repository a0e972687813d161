"""A value of null takes the chart's default away: it is refused by name, or the chart renders without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tools.harness.helm import CHART, ChartRefused, Helm

DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
ENABLED: dict[str, Any] = {
    name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule")
}
OPTIONAL = {"resources", "podSecurityContext", "securityContext"}
"""Parts of a pod: what is null in them is left out of it."""


def paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict) and name not in OPTIONAL:
            yield from paths(value, (*above, name))


def with_null(path: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "image": {"repository": "example/tacho"},
        **{n: {**v} for n, v in ENABLED.items()},
    }
    place = values
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = None
    return values


@pytest.mark.parametrize("path", [*paths(DEFAULTS)], ids=".".join)
def test_a_null_is_refused_by_the_values_name_or_renders(helm: Helm, path: tuple[str, ...]) -> None:
    try:
        helm.template(with_null(path), required=False)
    except ChartRefused as refused:
        said = str(refused)
        assert path[-1] in said, said
        assert "executing" not in said, said
        assert "nil pointer" not in said, said


@pytest.mark.parametrize("path", [("crds", "keep"), ("crds", "install"), ("rbac", "create"), ("workers",)])
def test_a_null_is_no_false_and_no_zero(helm: Helm, path: tuple[str, ...]) -> None:
    """With no `crds.keep`, `helm uninstall` would delete every LLMDeployment."""
    with pytest.raises(ChartRefused, match=f"missing property '{path[-1]}'"):
        helm.template(with_null(path), required=False)
