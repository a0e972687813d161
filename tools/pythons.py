"""CPython interpreters of other versions than the project's own, for injecting the runtime into third-party
images.

The builds are python-build-standalone's, from a Go module that embeds them: pinned by version and by Go's own
sum of the whole module. In the cache, each once.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.toolchain import find_go

from . import cache
from .steps import StepError, say, step

MODULE = "github.com/kluctl/go-embed-python"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NEEDED_BYTES = 10**9
NEXT_STEP = "Check that the Go module proxy can be reached (GOPROXY), and run it again."


@dataclass(frozen=True)
class Release:
    """A version of the module: the interpreter's in it, then the build's."""

    module_version: str
    module_sum: str


RELEASES = {
    "3.10": Release("v0.0.0-3.10.16-20241219-1", "h1:bfJRrtWlbdrPtwXXXZzA95yj2Pr9AvSbxDEm8YvbaP0="),
    "3.12": Release("v0.0.0-3.12.2-20240224-3", "h1:l7L5PWgbq5mkTQfZM7IWpsLgFTgHwbo+QfgELkJPIHg="),
    "3.13": Release("v0.0.0-3.13.1-20241219-1", "h1:x1cSEj4Ug5mpuZgUHLvUmlc5r//KHFn6iYiRSrRcVy4="),
    "3.14": Release("v0.0.0-3.14.6-20260610-1", "h1:oGUS7++Wm3LgxUfD6AmJgKbKQD2wdQFO9PzyJv6T+E4="),
}


def interpreter(version: str) -> Path:
    """The program of ``"3.12"``, fetched where it is missing. Raises StepError."""
    release = RELEASES[version]
    place = cache.folder("pythons") / f"{release.module_version}-{platform.machine()}"
    with cache.locked("pythons"):
        if not place.is_dir():
            cache.require_space(place.parent, NEEDED_BYTES, f"Python {version}")
            with (
                step(f"fetching Python {version}"),
                tempfile.TemporaryDirectory(dir=place.parent) as scratch,
            ):
                made = Path(scratch) / "python"
                unpack(_downloaded(release, Path(scratch) / "modules"), made)
                os.replace(made, place)
    return place / "bin" / f"python{version}"


def _downloaded(release: Release, modules: Path) -> Path:
    """The module's folder below ``modules``, which the caller removes: Go would keep it for good."""
    environment = {
        **os.environ,
        "GOMODCACHE": str(modules),
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GONOSUMDB": MODULE,  # the sum is pinned above, and the database does not know every release
    }
    command = [str(find_go(say)), "mod", "download", "-json", f"{MODULE}@{release.module_version}"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=modules.parent, check=False
    )
    said = json.loads(done.stdout or "{}")
    if done.returncode or "Dir" not in said:
        raise StepError("DownloadFailed", f"{said.get('Error') or done.stderr}\n{NEXT_STEP}")
    if said["Sum"] != release.module_sum:
        raise StepError(
            "WrongSum", f"{MODULE}@{release.module_version} has {said['Sum']}, not {release.module_sum}"
        )
    return Path(said["Dir"])


def unpack(module: Path, target: Path) -> None:
    """The files of this machine's platform, larger ones of which the module holds compressed."""
    source = module / "python" / "internal" / "data" / f"linux-{ARCHITECTURES[platform.machine()]}"
    for path in sorted(source.rglob("*")):
        found = target / path.relative_to(source)
        if path.is_dir():
            continue
        found.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            with gzip.open(path) as packed, found.with_suffix("").open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        else:
            shutil.copy(path, found)
    for program in (target / "bin").iterdir():
        program.chmod(0o755)
