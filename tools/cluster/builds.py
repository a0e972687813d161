"""Building pinned Go modules once per machine: keyed by what goes in, renamed into place when complete."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tools import cache
from tools.cluster.paths import HERE, cache_root
from tools.cluster.toolchain import find_go, version_of
from tools.steps import Say, run

KUBERNETES_VERSION = "v1.36.3"
HELM_VERSION, HELM3_VERSION = "v4.3.1", "v3.22.0"
KEDA_VERSION = "v2.21.0"
SOURCES = ("go.mod", "go.sum", "**/*.go")
NEEDED_DISK_BYTES = 6 << 30  # module cache, build cache and result of a cold build
PROXY = "A network that cannot reach the Go module proxy is the usual cause: set GOPROXY, then try again."


def _kubernetes_flags(version: str) -> str:
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@dataclass(frozen=True)
class Module:
    """A folder with a pinned go.mod, and the programs built from it."""

    name: str
    packages: tuple[str, ...]
    versions: str = ""
    """Link flags that set the versions that the programs report."""
    place: str = ""
    """Path of the folder; empty: go-tools and the module's name."""
    programs: tuple[str, ...] = ()
    """Names under which the first binary is also called, e.g. ``kubectl``."""

    @property
    def folder(self) -> Path:
        return HERE / (self.place or f"go-tools/{self.name}")

    @property
    def link_flags(self) -> str:
        return f"-s -w {self.versions}".strip()

    def key(self, go_version: str) -> str:
        """Names the folder in the cache: equal inputs, equal key."""
        digest = hashlib.sha256(f"{go_version}\n{self.link_flags}\n{self.packages}\n".encode())
        for path in sorted({found for pattern in SOURCES for found in self.folder.glob(pattern)}):
            digest.update(f"{path.relative_to(self.folder)}\n".encode() + path.read_bytes())
        return f"{self.name}-{digest.hexdigest()[:16]}"


CLUSTER = Module(
    name="cluster",
    place="go",
    packages=(".", "./pause", "./hello", "./coredns"),
    versions=_kubernetes_flags(KUBERNETES_VERSION),
    programs=(
        *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        *("kube-proxy", "kubelet", "kubectl"),
    ),
)
HELM = Module(
    name="helm",
    packages=("helm.sh/helm/v4/cmd/helm",),
    versions=f"-X helm.sh/helm/v4/internal/version.version={HELM_VERSION}",
)
HELM3 = Module(
    name="helm3",
    packages=("helm.sh/helm/v3/cmd/helm",),
    versions=f"-X helm.sh/helm/v3/internal/version.version={HELM3_VERSION}",
)
DEVICE_PLUGIN = Module(name="device-plugin", packages=(".",))
KEDA = Module(
    name="keda",
    packages=("github.com/kedacore/keda/v2/cmd/operator", "github.com/kedacore/keda/v2/cmd/adapter"),
    versions=f"-X github.com/kedacore/keda/v2/version.Version={KEDA_VERSION}",
)
COSIGN = Module(
    name="cosign",
    packages=(
        "github.com/sigstore/cosign/v3/cmd/cosign",
        "github.com/google/go-containerregistry/cmd/registry",
    ),
)
SYFT = Module(name="syft", packages=("github.com/anchore/syft/cmd/syft",))
ETCDUTL = Module(name="etcdutl", packages=("go.etcd.io/etcd/etcdutl/v3",))
ALL = (CLUSTER, HELM, HELM3, DEVICE_PLUGIN, KEDA, COSIGN, SYFT, ETCDUTL)
MODULES = {module.name: module for module in ALL}


def source_of(module: Module, path: str, say: Say) -> Path:
    """The folder with the source of the Go module `path`, at the version that `module` pins."""
    go = find_go(say)
    answer = run(
        [go, "mod", "download", "-json", path],
        failure_class="DownloadFailed",
        next_step=PROXY,
        environment={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        folder=module.folder,
        say=say,
    )
    return Path(json.loads(answer)["Dir"])


def is_of(module: Module, path: Path) -> bool:
    """Whether `path` is a complete build of some version of the module."""
    return path.name.startswith(f"{module.name}-") and path.is_dir() and ".building-" not in path.name


def built(module: Module, say: Say) -> Path:
    """The folder with the module's programs, built now when the cache has none.

    Two builds of the same module wait for each other. Raises StepError.
    """
    go = find_go(say)
    folder = cache_root() / module.key(version_of(go))
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked(f"build-{module.name}", say):
        if not folder.exists():
            _build(module, go, folder, say)
    return folder


def _build(module: Module, go: Path, folder: Path, say: Say) -> None:
    cache.require_space(folder.parent, NEEDED_DISK_BYTES, f"a build of {module.name}")
    for left_by_a_killed_build in folder.parent.glob(f"{folder.name}.building-*"):
        shutil.rmtree(left_by_a_killed_build, ignore_errors=True)
    scratch = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        _compile(module, go, scratch, say)
        for program in module.programs:
            (scratch / program).symlink_to(f"tacho-{module.name}")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _compile(module: Module, go: Path, into: Path, say: Say) -> None:
    flags = ["-v", "-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags={module.link_flags}"]
    command = [go, "build", *flags, "-o", f"{into}/", *module.packages]
    say(f"{module.name}: building")
    started = time.monotonic()
    run(
        command,
        failure_class="BuildFailed",
        next_step=PROXY,
        environment={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
        folder=module.folder,
        say=say,
    )
    say(f"{module.name}: built in {time.monotonic() - started:.0f} s")
