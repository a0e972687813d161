"""Tying a cluster's life to a process: nothing outlives a test session, even a killed one."""

import os
import select
import subprocess
import sys

from tools.cluster import state
from tools.cluster.down import down
from tools.cluster.paths import REPOSITORY


def start_watch(name: str, owner_pid: int) -> None:
    """Starts a process of its own that watches `owner_pid` for the cluster `name`."""
    subprocess.Popen(
        [sys.executable, "-m", "tools.cluster", "watch", "--name", name, "--owner", str(owner_pid)],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def watch(name: str, owner_pid: int) -> None:
    """Takes the cluster down when `owner_pid` ends; returns early when the cluster is gone before."""
    try:
        descriptor = os.pidfd_open(owner_pid)
    except ProcessLookupError:
        down(name)
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while state.directory_of(name).exists():
            if poll.poll(1000):
                down(name)
                return
    finally:
        os.close(descriptor)
