"""``llama-server``: reads the flags, starts llama.cpp's server, stops it on SIGTERM or SIGINT.

Exit codes: 0 stopped on request, 1 could not start, 2 wrong arguments. A failure's last line on stderr is
``llama-server: error [Class]: what happened: what to do``; llama.cpp's own lines come before it. The same is
written, as JSON, to the file that TACHO_ENGINE_FAILURE names.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, cast

from tacho_llamacpp import openmp
from tacho_llamacpp.flags import PROGRAM, UsageError, apply, parse
from tacho_server.errors import LoadError, fail
from tacho_server.threads import usable_cpus

LEVEL_LOADING, LEVEL_SERVING = 4, 3
"""Log levels of llama.cpp where the user has not set one: while it loads, it logs the size of each buffer,
which the runtime reads; at the same level it logs twenty lines per request."""
THREADS = ("cpuparams.n_threads", "cpuparams_batch.n_threads")
HOST_DEVICES = ("CPU", "ACCEL")
"""Kinds of llama.cpp's devices that are not GPUs (ggml-backend.h)."""


def main() -> int:
    try:
        values = parse(sys.argv[1:], os.environ)
        if "version" in values:
            print(f"{PROGRAM} (xllamacpp {version('xllamacpp')})")
            return 0
        cpus = usable_cpus()
        if cpus < (os.cpu_count() or 1):  # else llama.cpp starts a thread for each physical core
            values.setdefault("cpuparams.n_threads", cpus)
        return _serve(values)
    except LoadError as error:
        return fail(PROGRAM, error, 2 if isinstance(error, UsageError) else 1)


def _serve(values: dict[str, object]) -> int:
    # Loading holds the interpreter's lock, so a handler would wait for its end. Until then the signals'
    # default action ends the process at once; only PID 1, which has no default action, must wait.
    stop = _stop_pipe() if os.getpid() == 1 else None
    if stop is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threads = [cast("int", values[name]) for name in THREADS if name in values]
    switch = openmp.prepare(os.environ, max(threads, default=None))
    xllamacpp = _library()
    # The check opens every device: only where layers are to be placed on GPUs.
    if layers := cast("int", values.get("n_gpu_layers", 0)):
        prefix = "GGML_BACKEND_DEVICE_TYPE_"
        kinds = [device["type"].name.removeprefix(prefix) for device in xllamacpp.get_device_info()]
        check_gpus(layers, kinds, str(xllamacpp.get_system_info()))
    params = xllamacpp.CommonParams()
    set_level = None if "verbosity" in values else _log_level()
    apply(values if set_level is None else {**values, "verbosity": LEVEL_LOADING}, params)
    try:
        server = xllamacpp.Server(params)  # serves from threads of its own for as long as it is referred to
    except RuntimeError as error:
        raise LoadError(
            "EngineCrashed", f"llama.cpp did not start ({error})", "see its lines above"
        ) from None
    if set_level is not None:
        set_level(LEVEL_SERVING)
    if switch is not None:
        openmp.adapt(switch)
    os.read(stop if stop is not None else _stop_pipe(), 1)
    # Ending the server in order hangs for ever while a request is being answered, and there is nothing to
    # save: running requests ended before the signal was sent, and the kernel frees memory and GPU.
    print(f"{PROGRAM}: stopped on request ({server.listening_address})", file=sys.stderr, flush=True)
    os._exit(0)


def check_gpus(requested_layers: int, kinds: Sequence[str], features: str) -> None:
    """Raises an error where layers are requested on GPUs and there is none; llama.cpp would silently use the
    CPU.

    ``requested_layers``: of --n-gpu-layers; negative: all. ``kinds``: of llama.cpp's devices. ``features``:
    its system info, with an entry for each compiled backend.
    """
    if requested_layers == 0 or any(kind not in HOST_DEVICES for kind in kinds):
        return
    if "CUDA" not in features:
        raise LoadError(
            "EngineNotSupported",
            "layers are to be put on GPUs, and this build of llama.cpp computes on the CPU only",
            "leave spec.engine.image out for tacho's CUDA image, or set spec.gpu.count to 0; elsewhere build "
            "xllamacpp with XLLAMACPP_BUILD_CUDA=1 (pip install --no-binary xllamacpp xllamacpp)",
        )
    raise LoadError(
        "UnsupportedGPU",
        "this build of llama.cpp has CUDA and finds no GPU that it can use",
        "see ggml_cuda_init's lines above: update the node's driver, and check that the container has GPUs",
    )


def _library() -> Any:
    """The module xllamacpp. It has 100 MB: not imported for --help or a wrong flag. Raises LoadError."""
    try:
        return import_module("xllamacpp")
    except ImportError as error:
        no_openmp = "libgomp" in str(error)
        step = "install libgomp1 (apt-get install libgomp1)" if no_openmp else "reinstall xllamacpp"
        raise LoadError("ImportFailed", f"llama.cpp's module cannot be loaded ({error})", step) from None


def _log_level() -> Callable[[int], object] | None:
    """llama.cpp's function that sets the log level (common/log.h), which xllamacpp contains without a
    binding; None: not found.
    """
    module = import_module("xllamacpp.xllamacpp").__file__
    return getattr(ctypes.CDLL(module), "_Z30common_log_set_verbosity_tholdi", None)


def _stop_pipe() -> int:
    """A file descriptor that becomes readable on SIGTERM or SIGINT, whichever thread receives the signal."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


if __name__ == "__main__":
    sys.exit(main())
