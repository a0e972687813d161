"""``python -m tacho_operator.api.crd``."""

from __future__ import annotations

import sys

from tacho_operator.api.crd.definition import main

if __name__ == "__main__":
    sys.exit(main())
