"""Times of vllm-gguf-plugin's matrix products in Q4_0, of the shapes of Llama-3.1-8B, by each of its ways.

    PYTHONPATH=SITE python3 -m benchmarks.gpu.gguf_products OUT.json [--seconds 25]

Each is timed in a CUDA graph, over three weights of its own, seven times. ``step`` is that of 32 layers and a
head of 49,152 tokens, in milliseconds. Ways whose kernels are not there are left out, and said.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SHAPES = {
    "qkv": (6144, 4096),
    "o": (4096, 4096),
    "gate_up": (28672, 4096),
    "down": (4096, 14336),
    "lm_head": (49152, 4096),
}
LAYERS, BLOCK, BLOCK_BYTES, Q4_0 = 32, 32, 18, 2
TOKENS = (1, 2, 4, 6, 8, 16, 32, 48, 104, 144, 256, 512, 1024)
MOST_VECTORS = 8
"""Tokens up to which the kernel for vectors is timed; the plugin takes it up to 6."""
COPIES, REPEATS = 3, 7


def weight(torch: Any, rows: int, columns: int) -> Any:
    """Random blocks of Q4_0 with small scales."""
    shape = (rows, columns // BLOCK, BLOCK_BYTES)
    blocks = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda")
    scales = (torch.rand(*shape[:2], 1, device="cuda") * 0.01).to(torch.float16)
    blocks[:, :, :2] = scales.view(torch.uint8)
    return blocks.reshape(rows, -1)


def ways(torch: Any) -> dict[str, Callable[[Any, Any, Any, int], Any]]:
    """By name, of (packed weight, weight in 16 bits, input, rows)."""
    from vllm_gguf_plugin.triton.gemm.interface import (  # type: ignore[import-not-found]  # on a GPU host alone
        ggml_mul_mat_a8_triton,
    )

    ops = torch.ops._C_gguf

    def dequantized(packed: Any, _plain: Any, x: Any, rows: int) -> Any:
        return x @ ops.ggml_dequantize(packed, Q4_0, rows, x.shape[1], x.dtype).T

    return {
        "cuda vec": lambda packed, _, x, rows: ops.ggml_mul_mat_vec_a8(packed, x, Q4_0, rows),
        "cuda mat": lambda packed, _, x, rows: ops.ggml_mul_mat_a8(packed, x, Q4_0, rows),
        "triton": lambda packed, _, x, rows: ggml_mul_mat_a8_triton(packed, x, Q4_0, rows),
        "cuda dequantized": dequantized,
        "bf16": lambda _, plain, x, __: x @ plain.T,
    }


def milliseconds(torch: Any, turn: Callable[[], None]) -> float:
    """Of one of the products that ``turn`` computes, the median of replays."""
    for _ in range(2):
        turn()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        turn()
    graph.replay()
    found = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / COPIES)
    return float(median(found))


def timed(torch: Any, seconds: float) -> list[dict[str, Any]]:
    packed = {name: [weight(torch, *shape) for _ in range(COPIES)] for name, shape in SHAPES.items()}
    plain = {
        name: [torch.randn(shape, dtype=torch.bfloat16, device="cuda") * 0.01 for _ in range(COPIES)]
        for name, shape in SHAPES.items()
    }
    rows, began = [], time.monotonic()
    for tokens in TOKENS:
        for way, product in ways(torch).items():
            if (way == "cuda vec" and tokens > MOST_VECTORS) or time.monotonic() - began > seconds:
                continue
            found = {}
            try:
                for name, shape in SHAPES.items():
                    x = torch.randn(tokens, shape[1], dtype=torch.bfloat16, device="cuda")

                    def turn(name: str = name, x: Any = x, product: Any = product) -> None:
                        for one, other in zip(packed[name], plain[name], strict=True):
                            product(one, other, x, SHAPES[name][0])

                    found[name] = milliseconds(torch, turn)
            except AttributeError as error:
                print(tokens, way, error, flush=True)
                continue
            step = LAYERS * sum(found[name] for name in SHAPES if name != "lm_head") + found["lm_head"]
            shown = {name: round(value, 5) for name, value in found.items()}
            rows.append({"tokens": tokens, "way": way, "milliseconds": shown, "step": round(step, 3)})
            print(rows[-1], flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.gguf_products", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=25)
    asked = parser.parse_args()
    import torch

    found = {"torch": torch.__version__, "card": torch.cuda.get_device_name(0)}
    try:
        from vllm_gguf_plugin import _C_gguf

        found["extension"] = _C_gguf.__file__
    except ImportError as error:
        found["extension"] = f"ImportError: {error}"
    asked.out.write_text(json.dumps({**found, "rows": timed(torch, asked.seconds)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
