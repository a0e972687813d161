"""Programs that were carried to a machine that could not build them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cluster import binaries
from tools.cluster.errors import ToolMissingError


def said(line: str) -> None:
    raise AssertionError(f"nothing is to be built: {line}")


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("kubectl", "device-plugin"):
        (tmp_path / name).touch()
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv(binaries.CARRIED, str(tmp_path))
    return tmp_path


def test_carried_programs_are_used_and_nothing_is_built(carried: Path) -> None:
    found = binaries.find(said)
    assert found.path("kubectl") == carried / "kubectl"
    assert binaries.device_plugin(said) == carried / "device-plugin"


def test_a_carried_cluster_may_lack_a_program(carried: Path) -> None:
    found = binaries.find(said)
    assert found.has("kubectl")
    assert not found.has("coredns")
    with pytest.raises(ToolMissingError, match="coredns"):
        found.path("coredns")
