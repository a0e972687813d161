"""Debian's Chromium, headless: how a page looks, what it says on the console and asks the network for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HARNESS = Path(__file__).parent / "measure.html"
NO_ORIGIN = "not an origin"
"""Of what Chromium asks for itself, to find its updates; no page made it."""
PROGRAM = (
    "chromium",
    "--headless",
    "--no-sandbox",  # tests run as root, and the page is the project's own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",  # so that the harness may look into its frames
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one start of the browser."""

    dom: str
    console: tuple[str, ...]
    requests: tuple[str, ...]
    """Addresses that pages asked for; files are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page in a browser: once in each width, light and dark, and as a picture."""

    frames: list[dict[str, Any]]
    console: tuple[str, ...]
    requests: tuple[str, ...]
    colours: dict[str, int]
    """``red green blue`` to pixels, of a screenshot."""
    screenshot: Path

    def frame(self, width: int, scheme: str = "light") -> dict[str, Any]:
        (found,) = [item for item in self.frames if (item["width"], item["scheme"]) == (width, scheme)]
        return found


def open_page(file: Path, scratch: Path, *, widths: tuple[int, ...] = (360, 1200)) -> Page:
    """The page at ``file``. What the browser writes lies in ``scratch``."""
    measured = start(scratch, harness(page=file.as_uri(), widths=",".join(map(str, widths))), "--dump-dom")
    screenshot = scratch / f"{file.stem}.png"
    taken = start(
        scratch, file.as_uri(), f"--screenshot={screenshot}", "--window-size=1000,2400", "--hide-scrollbars"
    )
    looked_at = start(scratch, harness(picture=screenshot.as_uri()), "--dump-dom")
    return Page(
        frames=answer(measured),
        console=measured.console + taken.console + looked_at.console,
        requests=measured.requests + taken.requests,
        colours=answer(looked_at),
        screenshot=screenshot,
    )


def harness(**query: str) -> str:
    return f"{HARNESS.as_uri()}?{urlencode(query)}"


def answer(asked: Asked) -> Any:
    found = re.search(r'<script type="application/json" id="answer">(.*?)</script>', asked.dom, re.S)
    assert found, f"the harness did not end: {asked.console}\n{asked.dom[-2000:]}"
    return json.loads(found[1])


def start(scratch: Path, address: str, *options: str) -> Asked:
    log = scratch / "network.json"
    log.unlink(missing_ok=True)
    command = [*PROGRAM, f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Asked(
        dom=done.stdout,
        console=tuple(re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr)),
        requests=tuple(requested(json.loads(log.read_text()))),
    )


def requested(log: dict[str, Any]) -> Iterator[str]:
    """Addresses of Chromium's network log that a document wanted."""
    begins = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    for event in log["events"]:
        said = event.get("params") or {}
        if event["type"] == begins and "url" in said and said.get("initiator") != NO_ORIGIN:
            yield said["url"]
