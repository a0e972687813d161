"""What llama.cpp's log says of what it put where (b11549: src/llama-model.cpp,
src/llama-kv-cache.cpp, common/arg.cpp)."""

from __future__ import annotations

import re
from dataclasses import replace

from tacho_contract.units import MIB
from tacho_engines.base import EngineFigures

WEIGHTS = re.compile(r"load_tensors: +(?P<device>\S+) model buffer size = +(?P<mib>[\d.]+) MiB")
CACHE = re.compile(r"llama_kv_cache: +(?P<device>\S+) KV buffer size = +(?P<mib>[\d.]+) MiB")
CELLS = re.compile(r"llama_context: n_ctx +=\s+(?P<tokens>\d+)$")
OFFLOADED = re.compile(r"load_tensors: offloaded (?P<some>\d+)/(?P<all>\d+) layers to GPU")

NO_GPU = "no usable GPU found, --gpu-layers option will be ignored"
"""Of llama.cpp's own server; tacho's launcher refuses to start then."""


def read(figures: EngineFigures, line: str) -> EngineFigures:
    """``figures`` with this line. A buffer is told once a device; the largest is what one device holds."""
    if match := WEIGHTS.search(line):
        return replace(figures, weights_bytes=_larger(figures.weights_bytes, match["mib"]))
    if match := CACHE.search(line):
        return replace(figures, kv_cache_bytes=_larger(figures.kv_cache_bytes, match["mib"]))
    if match := CELLS.search(line.rstrip()):
        return replace(figures, kv_cache_tokens=int(match["tokens"]))
    if (match := OFFLOADED.search(line)) and int(match["some"]) < int(match["all"]):
        words = f"{match['some']} of {match['all']} layers are on GPUs, the others stay on the host"
        return replace(figures, fallbacks=(*figures.fallbacks, words))
    if NO_GPU in line:
        return replace(figures, fallbacks=(*figures.fallbacks, "no GPU is used: everything is on the host"))
    return figures


def _larger(known: int | None, mib: str) -> int:
    return max(known or 0, int(float(mib) * MIB))
