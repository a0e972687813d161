"""The goals of the probe under load, of a folder that truth.sh wrote: each figure beside the long loop.

    python -m benchmarks.gpu.goals FOLDER

NAME.json is the truth of the server NAME, NAME-levels.json what the probe said of the same levels,
NAME-levels-16.json of one, and NAME-tpot-20ms.json a search. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.gpu.pages.probe import Comparison, errors, missed_goals, page

BOUND = re.compile(r"-(ttft|tpot)-([\d.]+)(ms|s)")
SEARCH = re.compile(rf"({BOUND.pattern})+")
LEVELS = re.compile(r"-levels(-\d+)?")
"""After the name of a server."""
MILLISECONDS = {"ms": 1.0, "s": 1000.0}


def bounds(search: str) -> dict[str, float]:
    """``-ttft-1s-tpot-25ms`` in milliseconds; empty: the name is no search."""
    if not SEARCH.fullmatch(search):
        return {}
    return {match[1]: float(match[2]) * MILLISECONDS[match[3]] for match in BOUND.finditer(search)}


def levels_of(server: str, names: set[str]) -> tuple[str, ...]:
    """The probes of given levels, by rising streams."""
    found = (name for name in names if LEVELS.fullmatch(name.removeprefix(server)))
    return tuple(sorted(found, key=lambda name: (len(name), name)))


def comparison(folder: Path) -> Comparison:
    """Of all servers in ``folder`` that have a truth and levels."""
    names = {file.stem for file in folder.glob("*.json")}
    probes = {server: found for server in sorted(names) if (found := levels_of(server, names))}
    searches = {
        (server, name.removeprefix(f"{server}-")): found
        for server in probes
        for name in sorted(names)
        if name.startswith(f"{server}-") and (found := bounds(name.removeprefix(server)))
    }
    return Comparison(
        raw=folder,
        truths={server: (server,) for server in probes},
        probes=probes,
        edges=searches,
    )


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = comparison(Path(sys.argv[1]))
    if not any(True for _ in errors(found)):
        print(f"{sys.argv[1]}: no server has a truth and levels", file=sys.stderr)
        return 2
    print(page(found))
    return 1 if missed_goals(found) else 0


if __name__ == "__main__":
    sys.exit(main())
