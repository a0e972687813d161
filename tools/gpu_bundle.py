"""tacho for a host that has a GPU and an engine but no network: archives to carry there.

    python -m tools.gpu_bundle [NAME ...] [--python 3.12] [--out build/gpu]

``tacho-cp312.tar.xz`` holds ``tacho plan`` and ``tacho run`` with what they import, and what an in-process
engine's server needs; the host brings torch, the engine and their own packages. ``transformers-cp312.tar.xz``
holds this project's Transformers, for a host whose own is older. On the host:

    tar -xf tacho-cp312.tar.xz && . tacho-cp312/env.sh && tacho run -f FILE --once

env.sh puts the folder before PYTHONPATH and ``tacho`` onto PATH; it is read by bash.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .steps import StepError, run, say, step

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
OUTPUT = ROOT / "build" / "gpu"
PLATFORM = "x86_64-manylinux_2_28"
NEXT_STEP = "Check that the package index can be reached, and run it again."

TACHO = (
    "typer",
    "rich",
    "pydantic",
    "httpx",
    "prometheus-client",
    "pyyaml",
    "common-expression-language",
    "cronsim",
    "nvidia-ml-py",
    "plotille",
    "jinja2",
    "markupsafe",
)
"""Of pyproject.toml's dependencies those that work without a cluster or a hub."""
CARRIED: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "tacho": (("dev.txt", TACHO), ("engines.txt", ("fastapi", "uvicorn", "openai"))),
    "transformers": (("engines.txt", ("transformers", "tokenizers", "huggingface-hub", "safetensors")),),
}
"""Archive to the packages in it, each with the lock that says which version."""
BROUGHT = ("torch", "numpy", "triton", "bitsandbytes", "accelerate")
"""The host's own, never replaced."""

ENVIRONMENT = """\
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH=$here/site${PYTHONPATH:+:$PYTHONPATH} PATH=$here/bin:$PATH PYTHONUNBUFFERED=1
"""
COMMAND = """\
#!/bin/sh
exec python3 -m tacho_cli.main "$@"
"""


def install(names: tuple[str, ...], lock: Path, python: str, target: Path) -> None:
    """Installs the packages ``names`` and their dependencies, in the lock's versions with its hashes. Raises
    StepError. Resolved for the host's Python and platform, independent of the machine that runs this."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as scratch:
        wanted, brought = Path(scratch) / "wanted.in", Path(scratch) / "brought.overrides"
        resolved = Path(scratch) / "resolved.txt"
        wanted.write_text("\n".join(names) + "\n")
        brought.write_text("".join(f"{name}; sys_platform == 'never'\n" for name in BROUGHT))
        where = ["--python-version", python, "--python-platform", PLATFORM, "--only-binary", ":all:", "-q"]
        command = [uv, "pip", "compile", *where, "--generate-hashes", "--no-header", wanted]
        run(
            [*command, "-c", lock, "--override", brought, "-o", resolved],
            failure_class="NotResolved",
            next_step=NEXT_STEP,
        )
        command = [uv, "pip", "install", *where, "--no-deps", "--require-hashes", "--target", target]
        run([*command, "-r", resolved], failure_class="NotInstalled", next_step=NEXT_STEP)


def copy_sources(target: Path) -> None:
    """Copies the project's own packages from this checkout."""
    for source in sorted([*ROOT.glob("operator/tacho_*"), *ROOT.glob("runtime/tacho_*")]):
        shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))


def trim(site: Path) -> None:
    """Drops the commands, the byte code and the packages' own tests."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for folder in [*site.rglob("__pycache__"), *site.rglob("tests")]:
        shutil.rmtree(folder, ignore_errors=True)


def archive(folder: Path, place: Path) -> None:
    """``folder`` under its own name, the same bytes for the same content but for the packages' own dates."""
    command = ["tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]
    command += ["-C", str(folder.parent), "-I", "xz -T0 -6", "-cf", str(place), folder.name]
    run(command, failure_class="NotPacked", next_step="Check that tar and xz are installed.")


def pack(name: str, python: str, out: Path) -> Path:
    """Writes one archive and returns its path. Raises StepError."""
    label = f"{name}-cp{python.replace('.', '')}"
    place = out / f"{label}.tar.xz"
    with step(f"packing {label}"), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / label
        site = folder / "site"
        for lock, names in CARRIED[name]:
            install(names, LOCKS / lock, python, site)
        if name == "tacho":
            copy_sources(site)
            (folder / "bin").mkdir()
            (folder / "bin" / "tacho").write_text(COMMAND)
            (folder / "bin" / "tacho").chmod(0o755)
        trim(site)
        (folder / "env.sh").write_text(ENVIRONMENT)
        archive(folder, place)
    return place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_bundle", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CARRIED)}; all by default")
    parser.add_argument("--python", default="3.12", help="the host's Python")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in options.names or CARRIED:
            place = pack(name, options.python, options.out)
            print(f"{place}  {place.stat().st_size / 2**20:.1f} MiB")
    except (StepError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
