"""How one engine is spoken to: where, in which wording, with prompts nobody has sent before."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tacho_runtime.probe.asking.prompts import TextLength, random_ids, random_text
from tacho_runtime.probe.asking.timed_client import Endpoint, request_bytes
from tacho_runtime.probe.asking.wording import Wording, body


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """All that a request needs but its lengths; the same in every process that asks."""

    endpoint: Endpoint
    served_name: str
    wording: Wording
    text_length: TextLength = field(default_factory=TextLength)

    def body(
        self, rng: Random, input_tokens: int, output_tokens: int, *, counted: bool, streamed: bool = True
    ) -> dict[str, Any]:
        """``counted``: with the tokens of each chunk, where the engine can tell them."""
        prompt: str | list[int]
        if self.wording.token_ids:
            prompt = random_ids(input_tokens, self.wording.vocabulary, rng)
        else:
            prompt = random_text(self.text_length.words_for(input_tokens), rng)
        return body(
            self.wording,
            served_name=self.served_name,
            prompt=prompt,
            output_tokens=output_tokens,
            salt=f"{rng.getrandbits(128):032x}",
            counted=counted,
            streamed=streamed,
        )

    def request(
        self, rng: Random, input_tokens: int, output_tokens: int, *, counted: bool, streamed: bool = True
    ) -> bytes:
        """The same as it goes over the wire."""
        asked = self.body(rng, input_tokens, output_tokens, counted=counted, streamed=streamed)
        return request_bytes(self.endpoint, "POST", self.wording.path, asked)
