"""``transformers-server``: read the switches, serve the model until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import sys

from tacho_server.launch import serve
from tacho_server.options import KEY_VARIABLE, server_settings
from tacho_server.threads import usable_cpus
from tacho_transformers.backend import TransformersBackend
from tacho_transformers.options import PROGRAM, parser


def main() -> int:
    options = parser().parse_args()
    options.threads = options.threads or usable_cpus()
    # The model is a folder: nothing is to be looked up or reported anywhere.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    code = serve(
        TransformersBackend(options), server_settings(options, os.environ.get(KEY_VARIABLE, "")), PROGRAM
    )
    sys.stdout.flush()
    # Threads of the library may still be in a long computation; there is nothing left to save.
    os._exit(code)


if __name__ == "__main__":
    main()
