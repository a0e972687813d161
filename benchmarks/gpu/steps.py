"""How long a step of the Transformers backend takes, without HTTP: twice at each number of streams.

    python -m benchmarks.gpu.steps MODEL [--cudnn] [--streams 1 16] [--tokens 100] [--threads 16]

The second round meets the lengths of the first again. --cudnn: with torch's choice of attention kernels,
which the backend narrows. One line of JSON for each level: tokens a second, gaps between tokens in ms. Runs
under an interpreter with torch, transformers and tacho's runtime.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import time

from tacho_server.backend import Generation, Sampling
from tacho_transformers.backend import TransformersBackend
from tacho_transformers.options import parser

PROMPT_TOKENS = 512


async def gaps_of(backend: TransformersBackend, tokens: int) -> list[float]:
    """Seconds between the tokens of one answer."""
    prompt = tuple(random.randrange(5, 40_000) for _ in range(PROMPT_TOKENS))
    sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
    asked = Generation(identity=str(random.random()), prompt=prompt, sampling=sampling)
    stamps = [time.perf_counter() async for _ in backend.generate(asked)]
    return [after - before for before, after in itertools.pairwise(stamps)]


async def level(backend: TransformersBackend, streams: int, tokens: int) -> dict[str, object]:
    began = time.perf_counter()
    each = await asyncio.gather(*(gaps_of(backend, tokens) for _ in range(streams)))
    seconds = time.perf_counter() - began
    gaps = sorted(1000 * gap for one in each for gap in one)
    at = {f"p{part}": round(gaps[part * (len(gaps) - 1) // 100], 1) for part in (5, 50, 95)}
    return {"streams": streams, "tokens_per_second": round(streams * tokens / seconds, 1), **at}


async def levels(backend: TransformersBackend, asked: argparse.Namespace) -> None:
    await level(backend, 1, 30)
    for streams in (*asked.streams, *asked.streams):
        print(json.dumps(await level(backend, streams, asked.tokens)), flush=True)


def main() -> None:
    words = argparse.ArgumentParser(prog="benchmarks.gpu.steps", description=__doc__)
    words.add_argument("model")
    words.add_argument("--cudnn", action="store_true")
    words.add_argument("--device", default="cuda")
    words.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    words.add_argument("--tokens", type=int, default=100)
    words.add_argument("--threads", type=int, default=16)
    asked = words.parse_args()
    settings = ["--model", asked.model, "--served-model-name", "m", "--max-model-len", "4096"]
    settings += ["--max-batch", "16", "--device", asked.device, "--threads", str(asked.threads)]
    backend = TransformersBackend(parser().parse_args(settings))
    backend.load()
    if asked.cudnn:
        import torch

        torch.backends.cuda.enable_cudnn_sdp(True)
    asyncio.run(levels(backend, asked))
    os._exit(0)


if __name__ == "__main__":
    main()
