"""helm template, as data."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "tacho"
REQUIRED = {"image": {"repository": "example/tacho"}}


class ChartRefused(Exception):
    """Helm refused the chart; the message is helm's output."""


@dataclass(frozen=True)
class Helm:
    """The pinned helm binary."""

    program: Path

    def template(
        self, values: dict[str, Any] | None = None, *, required: bool = True, tests: bool = False
    ) -> list[dict[str, Any]]:
        """What an installation with ``values`` makes in the namespace tacho-system; with ``tests``, what
        `helm test` makes too."""
        merged = {**(REQUIRED if required else {}), **(values or {})}
        flags = ["--namespace=tacho-system", *([] if tests else ["--skip-tests"])]
        done = self.run("template", "tacho", str(CHART), *flags, stdin=json.dumps(merged))
        # In C: the CRD's 4,000 lines take seconds in Python.
        return [document for document in yaml.load_all(done, yaml.CSafeLoader) if document]

    def run(self, *arguments: str, stdin: str = "{}") -> str:
        """stdout; raises ChartRefused with stderr."""
        done = subprocess.run(
            [self.program, *arguments, "--values=-"],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise ChartRefused(done.stderr or done.stdout)
        return done.stdout


def kinds(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]
