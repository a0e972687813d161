"""``python -m tacho_runtime.hub.inspect``."""

from __future__ import annotations

import os
import sys

from tacho_runtime.hub.inspect.inspect import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Reads that are still under way in other threads must not hold the pod after its deadline.
    os._exit(code)
