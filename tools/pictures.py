"""The pictures of `tacho report` and `tacho status`: of a recorded LLMDeployment, light and dark.

    python -m tools.pictures

Writes docs/pictures/*.png by Debian's Chromium. Fonts differ between machines, so no test compares pixels.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import yaml

from tacho_cli.report.page import deployment_page
from tacho_cli.status.screen import show
from tacho_operator.core.types import Manifest
from tools.cluster import packages
from tools.pages import ROOT

RESOURCE = ROOT / "benchmarks/gpu/h200/vllm-0.32-pods/llama-8b-warm/resource.yaml"
"""An 8B with an SLO, as a pod on an H200, by vLLM 0.32."""
PICTURES = ROOT / "docs/pictures"
SCHEMES = ("light", "dark")
COLUMNS = 118
TERMINAL = """<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><style>
body { margin: 0; background: light-dark(#fff, #16181d); color: light-dark(#1c1e21, #e4e6eb) }
pre { margin: 0; padding: 18px 24px; font: 13px/1.4 "DejaVu Sans Mono", monospace }
</style><pre>{text}</pre>"""
FRAME = """<!doctype html><style>body {{ margin: 0; overflow: hidden }}
iframe {{ border: 0; color-scheme: {scheme}; width: 1000px; height: 4000px }}</style>
<iframe id="page" src="{file}" onload="
const first = [...page.contentDocument.querySelectorAll('{selector}')].at(-1);
page.style.marginTop = `${{{gap} - first.getBoundingClientRect().top}}px`"></iframe>"""
BROWSER = (
    "chromium",
    "--headless",
    "--no-sandbox",  # of the project's own pages, also as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=2",
    "--allow-file-access-from-files",  # the frame reads where the page's chart stands
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def status_text(raw: Manifest) -> str:
    out, environment = io.StringIO(), {"COLUMNS": str(COLUMNS)}
    with contextlib.redirect_stdout(out), mock.patch.dict(os.environ, environment):
        show([raw], "table", one=True, plotted=False, everywhere=False)
    return f"$ tacho status {raw['metadata']['name']}\n{out.getvalue()}"


def take(file: Path, selector: str, height: int, name: str, *, gap: int = 0) -> None:
    """One picture of 1000 pixels by ``height`` in each scheme, from the last element of ``selector`` on."""
    for scheme in SCHEMES:
        frame = file.with_name("frame.html")
        frame.write_text(FRAME.format(file=file.name, selector=selector, scheme=scheme, gap=gap))
        picture = PICTURES / f"{name}-{scheme}.png"
        size, profile = f"--window-size=1000,{height}", f"--user-data-dir={file.parent / 'profile'}"
        subprocess.run(
            [*BROWSER, size, profile, f"--screenshot={picture}", frame.as_uri()],
            check=True,
            capture_output=True,
            timeout=100,
        )
        print(picture.relative_to(ROOT))


def main() -> int:
    packages.ensure(packages.BROWSER_TOOLS, print)
    raw = yaml.safe_load(RESOURCE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        report, status = Path(folder, "report.html"), Path(folder, "status.html")
        report.write_text(deployment_page(raw))
        take(report, "svg.chart", 705, "report", gap=10)
        status.write_text(TERMINAL.replace("{text}", html.escape(status_text(raw))))
        take(status, "pre", 690, "status")
    return 0


if __name__ == "__main__":
    sys.exit(main())
