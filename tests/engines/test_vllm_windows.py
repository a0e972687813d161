"""As many requests as the planner says run in a pool of vLLM's blocks, and no more: by its own scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planner.windows import edges, judged, planned


@pytest.mark.timeout(900)  # half a minute on two idle cores
def test_what_fits_runs_at_once_and_a_tenth_less_does_not(engines_python: Path) -> None:
    models = list(edges())
    for found in judged(engines_python, models):
        print(found)
        if found["share"] < 100:
            assert found["running"] < found["requests"] or found["preempted"], found
            continue
        assert (found["running"], found["preempted"]) == (found["requests"], 0), found
        pool, in_flight_tokens = planned(found["name"], found["length"], found["step"])
        assert found["inFlight"] == in_flight_tokens
        assert found["worst"] == pool.blocks_per_request(found["length"], in_flight_tokens), found
