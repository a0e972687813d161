"""The next token of a row, with torch itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

DRAWS = """
import json, torch
from tacho_server.backend import Sampling
from tacho_server.schema import LEAST_TEMPERATURE, LEAST_TOP_P
from tacho_transformers.sampling import Sampler
sampler = Sampler(torch, frozenset())
def drawn(scores, times, **settings):
    row = sampler.row(Sampling(max_tokens=9, seed=1, **settings))
    return sorted({sampler.choose([row], torch.tensor([scores]))[0] for _ in range(times)})
print(json.dumps([
    drawn([3e38, -3e38, 1e38], 20, temperature=LEAST_TEMPERATURE),
    drawn([1.0, 1.001, 1.0], 200, temperature=1.0, top_p=LEAST_TOP_P),
    drawn([1.0, 1.001, 1.0], 200, temperature=1.0, top_k=1),
    drawn([1.0, 1.001, -9e9], 200, temperature=1.0),
]))
"""


def test_extreme_scores_and_settings_leave_a_token(engines_python: Path) -> None:
    """A row without one ends the thread of all requests."""
    runtime = Path(__file__).parents[2] / "runtime"
    told = subprocess.run(
        [engines_python, "-c", DRAWS],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(runtime)},
    )
    assert json.loads(told.stdout) == [[0], [1], [1], [0, 1]]
