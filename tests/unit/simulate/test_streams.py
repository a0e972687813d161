"""The curve that streams at a server give: figures of answers whose times are known."""

from __future__ import annotations

import time

import pytest

from benchmarks.autoscaling.streams import Answer, level

FIRST_SECONDS, TOKEN_SECONDS = 0.01, 0.001
SHAPE = (4, 8)


class Steady:
    """A server with a place for everyone."""

    def send(self, prompt: list[int], tokens: int) -> Answer:
        assert len(prompt) == SHAPE[0]
        sent = time.monotonic()
        time.sleep(FIRST_SECONDS + (tokens - 1) * TOKEN_SECONDS)
        first = sent + FIRST_SECONDS
        return Answer(sent, first, first + (tokens - 1) * TOKEN_SECONDS, tokens)


def test_a_level_has_the_times_of_its_answers_and_the_rate_of_its_window() -> None:
    found = level(Steady(), 2, 0.6, SHAPE)  # type: ignore[arg-type]  # all that is asked of a server
    assert found["concurrency"] == 2
    assert float(str(found["ttftMillisecondsP50"])) == pytest.approx(1000 * FIRST_SECONDS)
    assert float(str(found["tpotMillisecondsP50"])) == pytest.approx(1000 * TOKEN_SECONDS)
    whole = FIRST_SECONDS + (SHAPE[1] - 1) * TOKEN_SECONDS
    assert float(str(found["endToEndMillisecondsP50"])) == pytest.approx(1000 * whole)
    assert float(str(found["requestsPerSecond"])) > 1 / whole / 2
