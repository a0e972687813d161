"""What the metrics count of one sequence as it is computed: a client may read it later, or never."""

from __future__ import annotations

import time

from tacho_server.backend import Generation, Token
from tacho_server.metrics import ServerMetrics


class SequenceFigures:
    """Counts the prompt and the tokens of one sequence, and its times to the first and to each further token.

    Every prompt and every copy of it is a sequence, as in the gauges: the engine computes each by itself.
    """

    def __init__(self, metrics: ServerMetrics, generation: Generation, begin_seconds: float) -> None:
        self._metrics, self._begin_seconds = metrics, begin_seconds
        self._prompt_tokens, self._most = len(generation.prompt), generation.sampling.max_tokens
        self._first_seconds = self._last_seconds = 0.0
        self._made = 0
        self._has_ended = False

    def scored(self) -> None:
        """Counts the prompt, whose tokens were scored. Where none are generated, this is the first answer."""
        self._metrics.prompt_tokens.inc(self._prompt_tokens)
        if not self._most:
            self._metrics.first_token.observe(time.monotonic() - self._begin_seconds)

    def made(self, token: Token) -> None:
        """Counts one generated token."""
        self._metrics.generated_tokens.inc()
        if self._has_ended:
            return
        self._last_seconds = token.made_seconds
        if not self._made:
            self._first_seconds = token.made_seconds
            self._metrics.prompt_tokens.inc(self._prompt_tokens)
            self._metrics.first_token.observe(token.made_seconds - self._begin_seconds)
        self._made += 1
        if token.finish:
            self.end()

    def end(self) -> None:
        """Records the TPOT: the last token was made, a stop string ended the answer, or its client left."""
        if not self._has_ended and self._made > 1:
            mean_seconds = (self._last_seconds - self._first_seconds) / (self._made - 1)
            self._metrics.output_token.observe(mean_seconds)
        self._has_ended = True
