"""Failures on their way out: the termination message that the kubelet and the operator read.

A failure is a class, what happened, and what to do next (``tacho_contract.failure``).
"""

from __future__ import annotations

import sys

from tacho_contract.failure import Failure, termination_message


def write_termination(path: str, failure: Failure) -> None:
    """Writes the termination message to ``path``; a path that cannot be written is said on stderr.

    In one write over the old content: the kubelet mounts this very file, so it cannot be replaced.
    """
    text = termination_message(failure)
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        print(f"tacho: cannot write {path}: {error}; the message was: {text}", file=sys.stderr, flush=True)
