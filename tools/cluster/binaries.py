"""Which kubectl, kube-apiserver and the rest are run: $KUBEBUILDER_ASSETS, the cache, else a build.

Never one from PATH: a machine's stray kubectl is of any version. $TACHO_CLUSTER_PROGRAMS names a folder that
was built elsewhere and carried to a machine without Go or a network.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import builds
from tools.cluster.errors import ToolMissingError
from tools.steps import Say

CARRIED = "TACHO_CLUSTER_PROGRAMS"


@dataclass(frozen=True)
class Binaries:
    """Absolute paths of the cluster's programs."""

    folder: Path
    """All programs of the pinned module; first on PATH, it gives the right kubectl."""
    assets: Path | None = None
    """$KUBEBUILDER_ASSETS: its kube-apiserver, etcd and kubectl go before the folder's."""

    def path(self, program: str) -> Path:
        """Where `program` is; raises ToolMissingError when nothing built it."""
        for folder in (self.assets, self.folder):
            if folder is not None and (folder / program).exists():
                return folder / program
        raise ToolMissingError(f"{program} is not among the cluster's programs", "Run `make cluster-build`")

    def has(self, program: str) -> bool:
        """Whether `program` is there."""
        return any(
            folder is not None and (folder / program).exists() for folder in (self.assets, self.folder)
        )


def find(say: Say) -> Binaries:
    """The programs a cluster is made of, built first when this machine has none. Raises StepError."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    assets = Path(named) if named else None
    if assets is not None and not (assets / "kube-apiserver").exists():
        raise ToolMissingError(
            f"KUBEBUILDER_ASSETS={assets} holds no kube-apiserver",
            "Unset it, or point it at an envtest folder",
        )
    carried = os.environ.get(CARRIED)
    folder = Path(carried) if carried else builds.built(builds.CLUSTER, say)
    return Binaries(folder=folder, assets=assets)


def helm(say: Say) -> Path:
    """The pinned helm, built first when this machine has none. Raises StepError."""
    return builds.built(builds.HELM, say) / "helm"


def helm3(say: Say) -> Path:
    """The pinned Helm 3, built first when this machine has none. Raises StepError."""
    return builds.built(builds.HELM3, say) / "helm"


def device_plugin(say: Say) -> Path:
    """The device plugin: beside the carried programs, else built first when this machine has none."""
    carried = os.environ.get(CARRIED)
    folder = Path(carried) if carried else builds.built(builds.DEVICE_PLUGIN, say)
    return folder / ("device-plugin" if carried else "tacho-device-plugin")


def keda(say: Say) -> Path:
    """The folder of KEDA's two programs, built first when this machine has none. Raises StepError."""
    return builds.built(builds.KEDA, say)
