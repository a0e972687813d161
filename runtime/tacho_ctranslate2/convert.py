"""Converts a checkpoint in a child process that ends with its parent.

PyTorch and the checkpoint take more memory than the served model and are freed with the process. The child
is ``python -m tacho_ctranslate2.convert SOURCE TARGET QUANTIZATION [--trust-remote-code]``. Its exit code is
0 or one of those below; its last line on stderr says what happened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tacho_server.errors import LoadError

NO_SPACE = 3
NOT_CONVERTIBLE = 4
NO_MEMORY = 5
_OUT_OF_MEMORY = re.compile(r"std::bad_alloc|DefaultCPUAllocator: (?:can't allocate|not enough) memory")
"""Matches what the libraries below Python say of it."""
_SET_PARENT_DEATH_SIGNAL = 1
"""prctl(2) option PR_SET_PDEATHSIG: the signal that a process gets when its parent ends."""


def convert(source: Path, target: Path, quantization: str, *, trust_remote_code: bool) -> None:
    """Converts ``source`` in a child process, and returns when ``target`` is complete. Raises LoadError."""
    command = [sys.executable, "-m", "tacho_ctranslate2.convert", str(source), str(target), quantization]
    if trust_remote_code:
        command.append("--trust-remote-code")
    libc = ctypes.CDLL(None)
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # No access to a hub, whatever code of the model's repository requests.
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        preexec_fn=lambda: libc.prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0),
    ) as child:
        last = ""
        assert child.stderr is not None
        for line in child.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    if child.returncode:
        raise problem(child.returncode, last)


def problem(code: int, last: str) -> LoadError:
    """The error for a conversion that ended with the exit code ``code``; ``last`` is its last line."""
    if code in (-signal.SIGKILL, NO_MEMORY) or _OUT_OF_MEMORY.search(last):
        why = (
            f"got no more memory ({last})" if code != -signal.SIGKILL else "was killed, most often for memory"
        )
        step = "raise the memory in engine.resources, or serve a converted model"
        return LoadError("HostOutOfMemory", f"the converter {why}: it holds the whole checkpoint", step)
    if code == NO_SPACE:
        return LoadError(
            "DiskFull", f"the conversion ran out of space: {last}", "give the cache volume more space"
        )
    if code < 0:
        return LoadError(
            "EngineCrashed", f"signal {-code} ended the converter: {last}", "see the lines above"
        )
    if "No conversion is registered" in last:
        message = f"CTranslate2 has no converter for this architecture: {last}"
        return LoadError("EngineNotSupported", message, "choose another engine")
    if "no file named model.safetensors" in last:
        step = "point spec.model at weights in safetensors; pickled weights could run code"
        return LoadError("ModelInvalid", last, step)
    step = "choose another engine, or a model in a format that CTranslate2's converter reads"
    return LoadError("ModelInvalid", f"CTranslate2 cannot convert the model: {last}", step)


# --- the child ------------------------------------------------------------------------------------
def main(arguments: list[str]) -> int:
    source, target, quantization, *more = arguments
    converters: Any = import_module("ctranslate2.converters")

    class OfSafetensors(converters.TransformersConverter):  # type: ignore[misc]  # which has no types
        """Its converter, without weights as pickle, which may run code."""

        def load_model(self, model_class: Any, model: str, **options: Any) -> Any:
            return super().load_model(model_class, model, use_safetensors=True, **options)

    try:
        converter = OfSafetensors(
            source, low_cpu_mem_usage=True, trust_remote_code="--trust-remote-code" in more
        )
        converter.convert(target, quantization=quantization)
    except MemoryError as error:
        return _last_line(NO_MEMORY, error)
    except OSError as error:
        return _last_line(_OF_SYSTEM.get(error.errno or 0, NOT_CONVERTIBLE), error)
    except (ValueError, NotImplementedError) as error:
        return _last_line(NOT_CONVERTIBLE, error)
    return 0


_OF_SYSTEM = {errno.ENOSPC: NO_SPACE, errno.EDQUOT: NO_SPACE, errno.ENOMEM: NO_MEMORY}


def _last_line(code: int, error: Exception) -> int:
    print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
