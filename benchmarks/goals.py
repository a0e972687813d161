"""Every goal of the measurement, of memory and of speed, beside what recorded data has.

    python -m benchmarks.goals [probe] [planner]

Needs no GPU and half a minute. Exit code 1 where a goal is missed. `make goals` measures the probe anew
before, `make goals PART=planner` prints the planner's alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.planner import goals as planner
from benchmarks.probe import goals as probe

PARTS = {"probe": probe.main, "planner": planner.main}


def main(arguments: Sequence[str]) -> int:
    return max([PARTS[name]() for name in arguments or PARTS])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
