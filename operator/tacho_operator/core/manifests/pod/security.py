"""Security contexts that Pod Security ``restricted`` admits."""

from __future__ import annotations

from tacho_operator.core.types import Manifest

USER_ID = 10001
"""Any uid will do: every folder that is written is an emptyDir or a claim with this fsGroup."""


def pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        # A claim of 100 GB would otherwise be walked file by file at every start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only_root: bool = True) -> Manifest:
    """``read_only_root`` is False for GPU engines: nvidia-cdi-hook writes into the root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only_root,
    }
