"""An image build that is interrupted: nothing goes on running, nothing stays mounted, no folder is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.images import mounts
from tools.steps import StepError

TABLE = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
90 22 0:21 / {root}/proc rw - proc proc rw
91 22 0:22 / {root}/sys rw - sysfs sysfs rw
92 91 0:23 / {root}/sys/a\\040b rw - tmpfs tmpfs rw
93 22 0:21 / {root}-of-another/proc rw - proc proc rw
"""


def test_what_is_mounted_in_a_folder_is_found_the_latest_first() -> None:
    found = mounts.below(Path("/build/root"), TABLE.format(root="/build/root"))
    assert found == ["/build/root/sys/a b", "/build/root/sys", "/build/root/proc"]


def test_a_folder_in_which_something_stays_mounted_is_not_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table"
    table.write_text(TABLE.format(root=tmp_path / "none"))
    monkeypatch.setattr(mounts, "TABLE", table)
    with (
        pytest.raises(StepError, match=r"StillMounted: unmount .*/proc, and"),
        mounts.unmounted(tmp_path / "none"),
    ):
        pass


def test_nothing_is_removed_through_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "table"
    monkeypatch.setattr(mounts, "TABLE", table)
    with mounts.scratch(tmp_path) as folder:
        table.write_text(TABLE.format(root=folder / "root"))
    assert folder.is_dir()
    table.write_text("")
    with mounts.scratch(tmp_path) as free:
        pass
    assert not free.exists()


PROGRAM = """
import sys
from pathlib import Path
from tools import cache
from tools.images import __main__ as images, base, machine, mounts

folder = Path(sys.argv[1])
cache.folder = lambda name: folder
cache.require_space = lambda *_: None
machine.require_root = machine.install_programs = lambda: None
machine.debian_mirror, machine.proxy_environment = lambda: "http://none", lambda: None
mounts.TABLE = folder.parent / "table"
sys.argv = ["images", "base"]
sys.exit(images.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_build_that_is_ended_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """With programs in place of debootstrap and umount: they keep a table of what would be mounted."""
    scratch, programs, table = tmp_path / "scratch", tmp_path / "bin", tmp_path / "table"
    scratch.mkdir()
    programs.mkdir()
    table.write_text("")
    scripts = {
        "debootstrap": f'mkdir -p "$4/proc"; echo "1 1 0:1 / $4/proc rw" > {table}\n'
        f"sleep 300 & echo $! $$ > {tmp_path}/started; wait",
        "umount": f': > {table}; echo "$@" > {tmp_path}/unmounted',
    }
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(scratch)],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    )
    with process:
        _until(lambda: (tmp_path / "started").is_file() and (tmp_path / "started").read_text())
        process.send_signal(number)
        assert process.wait(60) != 0
    assert "/root/proc" in (tmp_path / "unmounted").read_text()
    assert list(scratch.iterdir()) == []
    for pid in (tmp_path / "started").read_text().split():
        _until(lambda pid=pid: not _alive(pid))


def _heed_signals() -> None:
    """In the background of a script SIGINT is ignored, under nohup SIGHUP."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _alive(pid: str) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(check: object) -> None:
    assert callable(check)
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)
