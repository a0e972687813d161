"""Building pinned Go modules once per machine: keyed by what goes in, renamed into place when complete."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.cluster.errors import BuildError
from tools.cluster.paths import HERE, cache_root
from tools.cluster.toolchain import find_go, version_of

Say = Callable[[str], None]
KUBERNETES_VERSION = "v1.36.3"
HELM_VERSION, HELM3_VERSION = "v4.3.1", "v3.22.0"
KEDA_VERSION = "v2.21.0"
NEEDED_DISK_BYTES = 6 << 30  # module cache, build cache and result of a cold build


def _kubernetes_flags(version: str) -> str:
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@dataclass(frozen=True)
class Module:
    """A folder with a pinned go.mod, and the programs built from it."""

    name: str
    folder: Path
    packages: tuple[str, ...]
    link_flags: str
    programs: tuple[str, ...]
    """Names under which the first binary is also called, e.g. ``kubectl``."""
    sources: tuple[str, ...] = field(default=("go.mod", "go.sum", "**/*.go"))

    def key(self, go_version: str) -> str:
        """Names the folder in the cache: equal inputs, equal key."""
        digest = hashlib.sha256(f"{go_version}\n{self.link_flags}\n{self.packages}\n".encode())
        for path in sorted({found for pattern in self.sources for found in self.folder.glob(pattern)}):
            digest.update(f"{path.relative_to(self.folder)}\n".encode() + path.read_bytes())
        return f"{self.name}-{digest.hexdigest()[:16]}"


CLUSTER = Module(
    name="cluster",
    folder=HERE / "go",
    packages=(".", "./pause", "./hello", "./coredns"),
    link_flags=f"-s -w {_kubernetes_flags(KUBERNETES_VERSION)}",
    programs=(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
    ),
)
HELM = Module(
    name="helm",
    folder=HERE / "go-tools" / "helm",
    packages=("helm.sh/helm/v4/cmd/helm",),
    link_flags=f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}",
    programs=(),
)
HELM3 = Module(
    name="helm3",
    folder=HERE / "go-tools" / "helm3",
    packages=("helm.sh/helm/v3/cmd/helm",),
    link_flags=f"-s -w -X helm.sh/helm/v3/internal/version.version={HELM3_VERSION}",
    programs=(),
)
DEVICE_PLUGIN = Module(
    name="device-plugin",
    folder=HERE / "go-tools" / "device-plugin",
    packages=(".",),
    link_flags="-s -w",
    programs=(),
)
KEDA = Module(
    name="keda",
    folder=HERE / "go-tools" / "keda",
    packages=("github.com/kedacore/keda/v2/cmd/operator", "github.com/kedacore/keda/v2/cmd/adapter"),
    link_flags=f"-s -w -X github.com/kedacore/keda/v2/version.Version={KEDA_VERSION}",
    programs=(),
)
COSIGN = Module(
    name="cosign",
    folder=HERE / "go-tools" / "cosign",
    packages=(
        "github.com/sigstore/cosign/v3/cmd/cosign",
        "github.com/google/go-containerregistry/cmd/registry",
    ),
    link_flags="-s -w",
    programs=(),
)
SYFT = Module(
    name="syft",
    folder=HERE / "go-tools" / "syft",
    packages=("github.com/anchore/syft/cmd/syft",),
    link_flags="-s -w",
    programs=(),
)
ETCDUTL = Module(
    name="etcdutl",
    folder=HERE / "go-tools" / "etcdutl",
    packages=("go.etcd.io/etcd/etcdutl/v3",),
    link_flags="-s -w",
    programs=(),
)
ALL = (CLUSTER, HELM, HELM3, DEVICE_PLUGIN, KEDA, COSIGN, SYFT, ETCDUTL)
MODULES = {module.name: module for module in ALL}


def source_of(module: Module, path: str, say: Say) -> Path:
    """The folder with the source of the Go module `path`, at the version that `module` pins."""
    go = find_go(say)
    done = subprocess.run(
        [str(go), "mod", "download", "-json", path],
        cwd=module.folder,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(
            f"the source of {path} is not to be had: {(done.stderr or done.stdout).strip()[-800:]}",
            "A network that cannot reach the Go module proxy is the usual cause: set GOPROXY, then try again",
        )
    return Path(json.loads(done.stdout)["Dir"])


def is_of(module: Module, path: Path) -> bool:
    """Whether `path` is a complete build of some version of the module."""
    return path.name.startswith(f"{module.name}-") and path.is_dir() and ".building-" not in path.name


def built(module: Module, say: Say) -> Path:
    """The folder with the module's programs, built now when the cache has none.

    Two builds of the same module wait for each other. Raises BuildError.
    """
    go = find_go(say)
    folder = cache_root() / module.key(version_of(go))
    if folder.exists():
        return folder
    with _locked(folder.with_suffix(".lock"), say):
        if not folder.exists():
            _build(module, go, folder, say)
    return folder


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the same programs is running: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(module: Module, go: Path, folder: Path, say: Say) -> None:
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < NEEDED_DISK_BYTES:
        raise BuildError(
            f"{folder.parent} has {free_bytes >> 30} GiB free, a build needs {NEEDED_DISK_BYTES >> 30} GiB",
            "Free some space, or set XDG_CACHE_HOME and GOCACHE to a larger disk",
        )
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
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    flags = ["-v", "-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags={module.link_flags}"]
    command = [str(go), "build", *flags, "-o", f"{into}/", *module.packages]
    started = time.monotonic()
    progress = _Progress(module, go, environment, started)
    with subprocess.Popen(
        command,
        cwd=module.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=progress.read, args=(process.stderr,), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                progress.show(say)
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        reader.join(timeout=5)
    if process.returncode:
        raise BuildError(
            f"go build of {module.name} failed: " + "\n".join(progress.other[-25:]),
            "A network that cannot reach the Go module proxy is the usual cause: set GOPROXY, then try again",
        )
    say(f"{module.name}: built in {time.monotonic() - started:.0f} s")


class _Progress:
    """Counts what `go build -v` names; a line every few seconds, on a terminal the same line again."""

    def __init__(self, module: Module, go: Path, environment: dict[str, str], started: float) -> None:
        self.module, self.started = module, started
        self.downloaded = self.compiled = 0
        self.other: list[str] = []
        self._every_seconds = 1.0 if sys.stdout.isatty() else 5.0
        self._shown = started
        self._total: int | None = None
        self._go, self._environment = go, environment
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        """Counts the packages to build: the number is known only after the modules are downloaded, so it
        arrives late."""
        listed = subprocess.run(
            [self._go, "list", "-deps", *self.module.packages],
            cwd=self.module.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self._total = len(listed.stdout.splitlines()) or None

    def read(self, lines: Iterator[str]) -> None:
        for line in lines:
            if line.startswith("go: downloading"):
                self.downloaded += 1
            elif " " not in line.strip():
                self.compiled += 1
            else:
                self.other.append(line.rstrip())

    def show(self, say: Say) -> None:
        now = time.monotonic()
        if now - self._shown < self._every_seconds:
            return
        self._shown = now
        of = f" of {self._total}" if self._total else ""
        say(
            f"{self.module.name}: {self.downloaded} modules downloaded, "
            f"{self.compiled}{of} packages compiled, {now - self.started:.0f} s"
        )
