"""``python -m tacho_runtime.hub.fetch``."""

from __future__ import annotations

import os
import sys

from tacho_runtime.hub.fetch.fetch import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Downloads that are still under way in other threads must not hold the container.
    os._exit(code)
