"""Breaks the process it is imported into, once a file appears, if that process uses a GPU by then.

GPU_HOOK_BREAKS says how, GPU_HOOK_WHEN names the file; what happened is written beside it (.done). Python
imports this module by its name at every start, wherever its folder is on the path.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time
from typing import Any

HOW, WHEN = os.environ.get("GPU_HOOK_BREAKS", ""), os.environ.get("GPU_HOOK_WHEN", "")
PTX = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry broken()
{
    .reg .b64 %%a;
    .reg .b32 %%v;
    mov.u64 %%a, 64;
    mov.u32 %%v, 1;
    %s
    ret;
}
"""
BODIES = {"illegal": "st.global.u32 [%a], %v;", "trap": "trap;"}


def launch(how: str) -> str:
    """A kernel that does it, through the driver, in the context that torch uses."""
    cuda = ctypes.CDLL("libcuda.so.1")
    source = (PTX % BODIES[how]).encode()
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    loaded = cuda.cuModuleLoadData(ctypes.byref(module), source)
    if loaded:
        return f"cuModuleLoadData {loaded}"
    cuda.cuModuleGetFunction(ctypes.byref(function), module, b"broken")
    done = cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    return f"cuLaunchKernel {done}, cuCtxSynchronize {cuda.cuCtxSynchronize()}"


def broken(torch: Any, how: str) -> str:
    torch.zeros(1, device="cuda").sum().item()  # this thread's context
    if how != "assert":
        return launch(how)
    table = torch.zeros(4, 4, device="cuda")
    index = torch.full((1,), 9, device="cuda")
    try:
        torch.nn.functional.embedding(index, table).sum().item()
    except RuntimeError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "nothing"


def watch() -> None:
    while not os.path.exists(WHEN):
        time.sleep(0.05)
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        what = broken(torch, HOW)
    except RuntimeError as error:
        what = f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError), open(os.path.splitext(WHEN)[0] + ".done", "w") as file:
        file.write(what)


if HOW and WHEN:
    threading.Thread(target=watch, daemon=True).start()
