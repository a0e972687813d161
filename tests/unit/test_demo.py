"""What `make demo` prints at its end."""

from __future__ import annotations

from pathlib import Path

from tools.demo import to_go_on


def test_the_next_commands_find_kubectl_and_helm() -> None:
    shown = to_go_on("c", "smollm2", (Path("/with/kubectl"), Path("/with/helm")))
    assert "PATH=/with/kubectl:/with/helm:$PATH" in shown
