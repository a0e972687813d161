"""Writes every generated file, or with --check says which one has drifted from its source.

python -m tools.generate [--check]
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.planner import pods
from benchmarks.simulator import page as simulator
from tacho_engines.registry import engine_profiles
from tools import air_gapped, chart_readme, cli_page, scaling_page, shown, troubleshooting

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = (
    ("the CRD and reference pages", [sys.executable, "-m", "tools.crd"]),
    ("docs/results/planner.md", [sys.executable, "-m", "benchmarks.planner.run"]),
    ("docs/results/planner.md, speed", [sys.executable, "-m", "benchmarks.planner.speed"]),
    ("docs/results/h200 and articles", [sys.executable, "-m", "benchmarks.gpu.pages"]),
    ("docs/results/scaling", [sys.executable, "-m", "benchmarks.autoscaling.page"]),
)
PAGES = {
    chart_readme.README: chart_readme.readme,
    troubleshooting.PAGE: troubleshooting.page,
    air_gapped.PAGE: air_gapped.page,
    cli_page.PAGE: cli_page.page,
    scaling_page.PAGE: scaling_page.page,
    simulator.PAGE: simulator.text,
    pods.PAGE: pods.page,
    **{path: partial(shown.page, path) for path in shown.PAGES},
}
CHART_CRDS = ROOT / "charts/tacho/files/crds"
CHART_SCHEMA = ROOT / "charts/tacho/values.schema.json"
ENGINE_NAMES = re.compile(r'("engineImages": \{[^}]*"propertyNames": \{"enum": )\[[^]]*\]')
"""Where the schema of the chart's values lists engines."""


def copy_crds(*, check: bool) -> bool:
    """The chart carries the CRDs: copied, or compared. True when all is as it should be."""
    sources = sorted((ROOT / "crds").glob("*.yaml"))
    copies = {path.name: path for path in CHART_CRDS.glob("*.yaml")} if CHART_CRDS.is_dir() else {}
    if check:
        stale = [path.name for path in sources if path.read_bytes() != _bytes(copies.pop(path.name, None))]
        for name in (*stale, *copies):
            print(f"charts/tacho/files/crds/{name} is not what crds/ holds: run make generate")
        return not stale and not copies
    CHART_CRDS.mkdir(parents=True, exist_ok=True)
    for path in copies.values():
        path.unlink()
    for path in sources:
        shutil.copyfile(path, CHART_CRDS / path.name)
    return True


def name_engines(*, check: bool) -> bool:
    """The chart's values may name an image for every engine that has one. True when every engine is
    listed."""
    text = CHART_SCHEMA.read_text()
    names = json.dumps(
        [name for row in engine_profiles() if row.image.reference for name in row.image_settings]
    )
    wanted = ENGINE_NAMES.sub(lambda match: f"{match[1]}{names}", text)
    if not check:
        CHART_SCHEMA.write_text(wanted)
    elif text != wanted:
        print(f"{CHART_SCHEMA.relative_to(ROOT)} does not name the registry's engines: run make generate")
    return not check or text == wanted


def write_pages(*, check: bool) -> bool:
    """Pages that are generated, in whole or in part. True when each is as it should be."""
    drifted = []
    for path, made in PAGES.items():
        text = made()
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            drifted.append(path)
            print(f"{path.relative_to(ROOT)} has drifted: run make generate")
    return not drifted


def _bytes(path: Path | None) -> bytes:
    return path.read_bytes() if path else b""


def main() -> int:
    check = "--check" in sys.argv[1:]
    failed = False
    for what, command in GENERATORS:
        done = subprocess.run([*command, *(["--check"] if check else [])], cwd=ROOT, check=False)
        if done.returncode:
            print(f"{what}: {'drifted; run make generate' if check else 'could not be generated'}")
            failed = True
    copied = copy_crds(check=check)
    named, described = name_engines(check=check), write_pages(check=check)
    return int(not (named and described and copied) or failed)


if __name__ == "__main__":
    sys.exit(main())
