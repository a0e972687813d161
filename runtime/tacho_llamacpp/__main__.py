"""``llama-server``: read the flags, start llama.cpp's server, stop it on SIGTERM or SIGINT.

Exit codes: 0 stopped when asked, 1 could not start, 2 wrong arguments. A failure's last line on stderr
is ``llama-server: error [Class]: what happened: what to do``; llama.cpp's own lines come before it. The same
is written, as JSON, to the file that TACHO_ENGINE_FAILURE names.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from tacho_llamacpp import cpus, openmp
from tacho_llamacpp.flags import PROGRAM, UsageError, apply, parse
from tacho_llamacpp.preflight import LaunchProblem, gpu_problem, model_problem, port_problem

FAILURE_VARIABLE = "TACHO_ENGINE_FAILURE"
"""Names the file in which the runtime looks for why its engine could not start."""
LEVEL_LOADING, LEVEL_SERVING = 4, 3
"""Log levels of llama.cpp where the user has not set one: while it loads, it logs the size of each buffer,
which the runtime reads; at the same level it logs twenty lines per request."""
THREADS = ("cpuparams.n_threads", "cpuparams_batch.n_threads")


def main() -> int:
    try:
        values = parse(sys.argv[1:], os.environ)
    except UsageError as error:
        return _fail(2, LaunchProblem("InvalidConfig", error.what, error.next_step))
    if "version" in values:
        print(f"{PROGRAM} (xllamacpp {version('xllamacpp')})")
        return 0
    if (limit := cpus.threads()) is not None:
        values.setdefault("cpuparams.n_threads", limit)
    if (problem := _problem(values)) is not None:
        return _fail(1, problem)
    return _serve(values)


def _problem(values: dict[str, object]) -> LaunchProblem | None:
    if (problem := model_problem(Path(str(values["model.path"])))) is not None:
        return problem
    hosts, port = cast("list[str]", values["hostnames"]), cast("int", values["port"])
    return next(filter(None, (port_problem(host, port) for host in hosts)), None)


def _serve(values: dict[str, object]) -> int:
    # Loading holds the interpreter's lock, so a handler would wait for its end. Until then the signals'
    # default action ends the process at once; only PID 1, which has no default action, must wait.
    stop = _stop_pipe() if os.getpid() == 1 else None
    if stop is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threads = [cast("int", values[name]) for name in THREADS if name in values]
    switch = openmp.prepare(os.environ, max(threads, default=None))
    try:
        xllamacpp: Any = import_module("xllamacpp")  # 100 MB: not for --help or a wrong flag
    except ImportError as error:
        step = (
            "install libgomp1 (apt-get install libgomp1)"
            if "libgomp" in str(error)
            else "reinstall xllamacpp"
        )
        return _fail(1, LaunchProblem("ImportFailed", f"llama.cpp's module cannot be loaded ({error})", step))
    if (problem := _gpu_problem(values, xllamacpp)) is not None:
        return _fail(1, problem)
    params = xllamacpp.CommonParams()
    set_level = None if "verbosity" in values else _log_level()
    apply(values if set_level is None else {**values, "verbosity": LEVEL_LOADING}, params)
    try:
        server = xllamacpp.Server(params)  # serves from threads of its own for as long as it is referred to
    except RuntimeError as error:
        return _fail(
            1, LaunchProblem("EngineCrashed", f"llama.cpp did not start ({error})", "see its lines above")
        )
    if set_level is not None:
        set_level(LEVEL_SERVING)
    if switch is not None:
        openmp.adapt(switch)
    os.read(stop if stop is not None else _stop_pipe(), 1)
    # Ending the server in order hangs for ever while a request is being answered, and there is nothing to
    # save: what runs was let finish before the signal was sent, and the kernel frees memory and GPU.
    print(f"{PROGRAM}: stopped on request ({server.listening_address})", file=sys.stderr, flush=True)
    os._exit(0)


def _gpu_problem(values: dict[str, object], xllamacpp: Any) -> LaunchProblem | None:
    """The problem that keeps layers from GPUs; None: none. Checked only where layers are to be placed on
    GPUs, because the check opens every device."""
    wanted = cast("int", values.get("n_gpu_layers", 0))
    if wanted == 0:
        return None
    prefix = "GGML_BACKEND_DEVICE_TYPE_"
    kinds = [device["type"].name.removeprefix(prefix) for device in xllamacpp.get_device_info()]
    return gpu_problem(wanted, kinds, str(xllamacpp.get_system_info()))


def _log_level() -> Callable[[int], object] | None:
    """llama.cpp's own function for it (common/log.h), which xllamacpp carries but does not bind."""
    module = import_module("xllamacpp.xllamacpp").__file__
    return getattr(ctypes.CDLL(module), "_Z30common_log_set_verbosity_tholdi", None)


def _stop_pipe() -> int:
    """A file descriptor that becomes readable on SIGTERM or SIGINT, whichever thread got it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def _fail(code: int, problem: LaunchProblem) -> int:
    """Prints the problem on stderr, and writes it to the file in which the runtime expects a launcher's
    failure. Returns ``code``."""
    if path := os.environ.get(FAILURE_VARIABLE):
        with contextlib.suppress(OSError):
            Path(path).write_text(problem.document(), encoding="utf-8")
    print(f"{PROGRAM}: error {problem}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
