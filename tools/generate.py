"""Writes every generated file, or with --check says which one has drifted from its source.

python -m tools.generate [--check]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.planner import pods
from benchmarks.simulator import page as simulator
from tacho_engines.registry import engine_profiles
from tools import (
    air_gapped,
    chart_readme,
    cli_page,
    reference_page,
    scaling_page,
    shown,
    support_page,
    troubleshooting,
)
from tools.pages import ROOT, settle

GENERATORS = (
    ("the CRD and reference pages", [sys.executable, "-m", "tools.crd"]),
    ("benchmarks/lab/planner.md", [sys.executable, "-m", "benchmarks.planner.run"]),
    ("benchmarks/lab/planner.md, speed", [sys.executable, "-m", "benchmarks.planner.speed"]),
    ("benchmarks/lab/h200 and articles", [sys.executable, "-m", "benchmarks.gpu.pages"]),
    ("benchmarks/lab/scaling", [sys.executable, "-m", "benchmarks.autoscaling.page"]),
    ("docs/evidence", [sys.executable, "-m", "benchmarks.evidence"]),
)
PAGES = {
    chart_readme.README: chart_readme.readme,
    troubleshooting.PAGE: troubleshooting.page,
    air_gapped.PAGE: air_gapped.page,
    cli_page.PAGE: cli_page.page,
    reference_page.PAGE: reference_page.page,
    scaling_page.PAGE: scaling_page.page,
    support_page.PAGE: support_page.page,
    simulator.PAGE: simulator.text,
    pods.PAGE: pods.page,
    **{path: partial(shown.page, path) for path in shown.PAGES},
}
CHART_CRDS = ROOT / "charts/tacho/files/crds"
CHART_SCHEMA = ROOT / "charts/tacho/values.schema.json"
ENGINE_NAMES = re.compile(r'("engineImages": \{[^}]*"propertyNames": \{"enum": )\[[^]]*\]')
"""Where the schema of the chart's values lists engines."""


def chart_crds() -> dict[Path, str]:
    """The chart carries copies of the CRDs."""
    return {CHART_CRDS / path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}


def chart_schema() -> str:
    """The chart's values may name an image for every engine that has one."""
    rows = (row for row in engine_profiles() if row.image.reference)
    names = json.dumps([name for row in rows for name in row.image_settings])
    return ENGINE_NAMES.sub(lambda match: f"{match[1]}{names}", CHART_SCHEMA.read_text())


def main(arguments: Sequence[str]) -> int:
    failed = False
    for what, command in GENERATORS:
        done = subprocess.run([*command, *arguments], cwd=ROOT, check=False)
        if done.returncode:
            print(f"{what}: {'drifted; run make generate' if arguments else 'could not be generated'}")
            failed = True
    crds = chart_crds()
    for path in set(CHART_CRDS.glob("*.yaml")) - set(crds):
        if arguments:
            print(f"{path.relative_to(ROOT)} is of no CRD in crds/: run make generate")
            failed = True
        else:
            path.unlink()
    pages = {path: made() for path, made in PAGES.items()}
    return settle({**crds, CHART_SCHEMA: chart_schema(), **pages}, arguments) or int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
