"""What is left of answers whose clients went, with Transformers itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

LEFT = """
import argparse, asyncio, json, os, sys
from tacho_server.metrics import ServerMetrics
from tacho_server.options import ServerSettings
from tacho_server.schema import CompletionRequest
from tacho_server.service import Service
from tacho_transformers.backend import TransformersBackend
backend = TransformersBackend(argparse.Namespace(
    model=sys.argv[1], served_model_name="m", max_model_len=512, max_batch=2, max_waiting=16, threads=1,
    page_tokens=64, prefill_tokens=512, device="cpu", dtype="bfloat16", attention="sdpa", quantization="none",
    compute_dtype="bfloat16", double_quant=False, trust_remote_code=False,
))
backend.load()
settings = ServerSettings(host="", port=1, served_name="m", max_requests=18, require_chat=False)
async def main():
    service = Service(backend, settings, ServerMetrics(backend))
    for place in range(12):
        asked = CompletionRequest(prompt=[1000 + place] * 64, max_tokens=60, temperature=1.0, ignore_eos=True)
        run = service.events(await service.job(asked, 1000))
        for _ in range(3):
            await run.__anext__()
        await run.aclose()
    await asyncio.sleep(1.0)
asyncio.run(main())
router = backend._manager.output_router
print(json.dumps([router.output_queue.qsize(), len(router.result_handlers), len(backend._rows)]), flush=True)
os._exit(0)
"""


def test_nothing_is_kept_of_answers_that_were_left(engines_python: Path, safetensors_model: Path) -> None:
    """Each left its prompt in a queue that nothing reads, for the life of the process."""
    runtime = Path(__file__).parents[2] / "runtime"
    told = subprocess.run(
        [engines_python, "-c", LEFT, safetensors_model],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(runtime)},
    )
    assert json.loads(told.stdout.splitlines()[-1]) == [0, 0, 0]
