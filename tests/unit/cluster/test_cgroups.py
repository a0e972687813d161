"""A cgroup in every hierarchy, told apart by what is mounted."""

from pathlib import Path

import pytest

from tools.cluster import cgroups
from tools.cluster.errors import CannotRunNodeError


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for name in ("cpu,cpuacct", "memory", "cpuset", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    return tmp_path


def version_2(mount: Path, offered: str) -> Path:
    (mount / "cgroup.controllers").write_text(offered)
    (mount / "cgroup.subtree_control").write_text("")
    return mount


def test_version_1_gets_a_cgroup_in_each_hierarchy_once(version_1: Path) -> None:
    assert not cgroups.is_version_2(version_1)
    cgroups.create("tacho-x", version_1)
    assert {path.parent.name for path in version_1.glob("*/tacho-x")} == {
        "cpu",
        "cpu,cpuacct",
        "cpuset",
        "memory",
        "unified",
    }
    (version_1 / "memory" / "tacho-x" / "kubepods" / "pod1").mkdir(parents=True)
    cgroups.remove("tacho-x", version_1)
    assert list(version_1.glob("*/tacho-x")) == []


def test_removing_what_is_not_there_is_no_error(version_1: Path) -> None:
    cgroups.remove("tacho-x", version_1)


def test_version_2_gets_one_cgroup_and_its_controllers(tmp_path: Path) -> None:
    mount = version_2(tmp_path, "cpuset cpu io memory pids hugetlb\n")
    cgroups.create("tacho-x", mount)
    assert (mount / "tacho-x").is_dir()
    assert cgroups.hierarchies(mount) == [mount]
    assert (
        mount / "cgroup.subtree_control"
    ).read_text() == "+hugetlb"  # the kernel adds up, a file keeps the last


def test_version_2_without_a_needed_controller_says_which(tmp_path: Path) -> None:
    with pytest.raises(CannotRunNodeError, match="memory, pids are not available"):
        cgroups.create("tacho-x", version_2(tmp_path, "cpuset cpu io\n"))
