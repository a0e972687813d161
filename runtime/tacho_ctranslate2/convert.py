"""``python -m tacho_ctranslate2.convert SOURCE TARGET QUANTIZATION [--trust-remote-code]``.

A process of its own: PyTorch and the checkpoint take more memory than the served model and are gone with it.
Exit codes: 0, or one of those below; what happened is the last line on stderr.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

NO_SPACE = 3
NOT_CONVERTIBLE = 4


def main(arguments: list[str]) -> int:
    source, target, quantization, *more = arguments
    converters: Any = import_module("ctranslate2.converters")
    try:
        converter = converters.TransformersConverter(
            source, low_cpu_mem_usage=True, trust_remote_code="--trust-remote-code" in more
        )
        converter.convert(target, quantization=quantization)
    except OSError as error:
        return _last_line(NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else NOT_CONVERTIBLE, error)
    except (ValueError, NotImplementedError) as error:
        return _last_line(NOT_CONVERTIBLE, error)
    return 0


def _last_line(code: int, error: Exception) -> int:
    print(" ".join(str(error).split()), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
