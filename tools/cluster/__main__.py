"""Entry point of `python -m tools.cluster`."""

import sys

from tools.cluster.cli import main

sys.exit(main())
