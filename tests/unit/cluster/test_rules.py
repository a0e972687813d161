"""Small decisions of the cluster: names, keys, confirmation, what a node hides, what a folder needs."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tools.cluster import (
    binaries,
    builds,
    images,
    named,
    namespaces,
    ports,
    preflight,
    state,
    storage,
    toolchain,
)
from tools.cluster.errors import (
    CannotRunNodeError,
    ClusterError,
    NoSuchClusterError,
    PortInUseError,
    ToolMissingError,
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["tacho", "pytest-12", "a" * 31])
def test_names_that_fit_an_interface_a_host_and_a_cgroup(name: str) -> None:
    assert state.directory_of(name).name == name


@pytest.mark.parametrize("name", ["", "../etc", "A", "-a", "a-", "a" * 32, "a/b", "a b"])
def test_names_that_would_leave_the_state_folder_are_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot be a cluster's name"):
        state.directory_of(name)


def test_state_is_remembered_and_a_broken_file_still_names_the_cluster() -> None:
    assert state.read("x") is None
    written = state.write(state.State("x"), slot=3, holder_pid=7)
    assert state.read("x") == written == state.State("x", slot=3, holder_pid=7)
    (state.directory_of("x") / state.FILE).write_text('{"name": "x", "slo')
    assert state.read("x") == state.State("x")
    assert state.names() == ["x"]


def test_the_key_of_a_build_follows_everything_that_goes_in(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n")
    module = builds.Module("m", (".",), place=str(tmp_path))
    keys = [
        module.key("go1.26.6"),
        module.key("go1.26.8"),
        replace(module, versions="-X a=b").key("go1.26.6"),
    ]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "main.go").write_text("package main\n")
    keys.append(module.key("go1.26.6"))
    (tmp_path / "README.md").write_text("no input\n")
    assert module.key("go1.26.6") == keys[-1]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("go1.26.6 linux/amd64", True),
        ("go1.26 linux/amd64", True),
        ("go1.27.0 linux/amd64", False),
        ("go1.2 linux/amd64", False),
        ("", False),
    ],
)
def test_only_go_1_26_builds(version: str, wanted: bool) -> None:
    assert toolchain.is_required(version) is wanted


def test_only_a_strangers_cluster_wants_a_confirmation(tmp_path: Path) -> None:
    assert named.is_ours(tmp_path / "tacho" / "kubeconfig", tmp_path)
    assert not named.is_ours(tmp_path.parent / "config", tmp_path)
    assert not named.is_confirmed({})
    assert not named.is_confirmed({"CONFIRM": "yes"})
    assert named.is_confirmed({"CONFIRM": "1"})


def test_a_named_kubeconfig_that_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(named.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(NoSuchClusterError, match="is not a file"):
        named.named_cluster(binaries.Binaries(tmp_path), tmp_path, print)


def test_folders_a_node_replaces_are_found() -> None:
    assert namespaces.hides(Path("/var/lib/tacho"))
    assert not namespaces.hides(Path("/var/library"))


def test_a_free_port_is_free_and_a_taken_one_is_named() -> None:
    port, other = ports.free_ports(2)
    assert port != other
    ports.must_be_free(port, "nobody")
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, port))
        with pytest.raises(
            PortInUseError, match=f"port in use: 127.0.0.1:{port}, which nobody needs"
        ) as refused:
            ports.must_be_free(port, "nobody")
    assert f":{port}" in refused.value.next_step


def test_one_port_is_never_handed_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may name a released port again: an engine and its runtime once got the same one."""
    named_by_kernel = iter([[40001], [40001], [40002]])
    monkeypatch.setattr(ports, "free_ports", lambda count: next(named_by_kernel))
    assert [ports.free_port(), ports.free_port()] == [40001, 40002]


def test_a_network_is_of_one_process_alone() -> None:
    port = ports.free_port()
    mine = ports.free_network(port)
    assert ports.free_network(port) == mine, "until the process ends"
    asks = f"from tools.cluster.ports import free_network; print(free_network({port}))"
    other = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert other.strip() not in ("", mine)


def test_all_that_is_missing_for_a_node_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(preflight, "NODE_DISK_BYTES", 1 << 60)
    findings = {finding.name: finding for finding in preflight.check()}
    assert not findings["root"].ok
    assert "namespaces" not in findings  # not tried without root
    assert json.loads(preflight.as_json(list(findings.values())))["ok"] is False
    with pytest.raises(CannotRunNodeError, match=r"root: uid 1000.*disk .*GiB free") as refused:
        preflight.must_pass()
    assert "Run as root" in refused.value.next_step
    assert "XDG_STATE_HOME" in refused.value.next_step


def test_an_assets_folder_without_an_api_server_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(ToolMissingError, match="holds no kube-apiserver"):
        binaries.find(print)


def test_an_image_of_one_program_is_what_docker_archives_are(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    archive = images.write_single_program_image(tmp_path / "i.tar", program, "docker.io/local/pause:1")
    with tarfile.open(archive) as image:
        content = {name: (image.extractfile(name) or program.open("rb")).read() for name in image.getnames()}
    manifest = json.loads(content["manifest.json"])[0]
    config = json.loads(content[manifest["Config"]])
    layers = [f"sha256:{hashlib.sha256(content[layer]).hexdigest()}" for layer in manifest["Layers"]]
    assert config["rootfs"]["diff_ids"] == layers
    assert config["config"]["User"] == "65532:65532"
    assert manifest["RepoTags"] == ["docker.io/local/pause:1"]


def test_a_volume_kept_for_a_claim_names_it(tmp_path: Path) -> None:
    kept = storage.volume("v", tmp_path, "node", ("ns", "claim"))["spec"]
    assert kept["claimRef"] == {"namespace": "ns", "name": "claim"}
    assert "claimRef" not in storage.volume("v", tmp_path, "node")["spec"]
    folder = storage.folder(tmp_path, "v")
    (folder / "old").touch()
    assert list(storage.folder(tmp_path, "v").iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o777
