"""``make audit``: every locked Python package against the advisory database.

A package that the database does not know counts as not audited, and a database that knows no advisory of a
package with published ones as no database: each fails, so that silence is never taken for safety.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .steps import StepError, ended_by_signals, say, step

LOCKS = Path(__file__).resolve().parent.parent / "requirements"
KNOWN = "jinja2==2.10"
"""A package with published advisories."""
COMMAND = (sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--progress-spinner", "off")


def audited(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)


def advisories(report: str) -> int:
    """Number of advisories in pip-audit's JSON report; 0 for anything else."""
    try:
        found = json.loads(report)["dependencies"]
        return sum(len(package["vulns"]) for package in found)
    except (ValueError, KeyError, TypeError):
        return 0


def require_database() -> None:
    """Raises StepError where no advisory of a package with published ones is found."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{KNOWN}\n")
        file.flush()
        done = audited("--no-deps", "--format", "json", "--requirement", file.name)
    if not advisories(done.stdout):
        raise StepError(
            "NoAdvisories",
            f"no database told an advisory of {KNOWN}, so nothing was audited. Check that "
            f"PyPI's JSON API can be reached, and run it again.\n{done.stderr.strip()[-800:]}",
        )


def main() -> int:
    ended_by_signals()
    try:
        require_database()
    except StepError as error:
        say(f"error: {error}")
        return 1
    failed = 0
    for lock in sorted(LOCKS.glob("*.txt")):
        with step(f"auditing {lock.name}"):
            done = audited("--require-hashes", "--requirement", str(lock))
        if done.returncode:
            failed += 1
            say(f"{done.stdout}\n{done.stderr}".strip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
