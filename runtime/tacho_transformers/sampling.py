"""Chooses the next token of every sequence in a batch, each by its own sampling settings.

transformers' batching has one setting for all requests, and returns log-probabilities after temperature. Here
each row has its own temperature, top-p, top-k, seed and minimum length, and log-probabilities are the
model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tacho_server.backend import Sampling, Token, TokenLogprob


@dataclass(slots=True)
class Row:
    """One sequence of the batch: its settings, and the tokens chosen for it."""

    sampling: Sampling
    generator: Any
    chosen: list[Token] = field(default_factory=list)
    has_failed: bool = False
    """The model computed no numbers for it. Its tokens mean nothing from then on."""


class Sampler:
    """Samples tokens for the rows of a batch.

    ``torch`` is passed in: importing it takes seconds, and this module is imported before any model is
    loaded.
    """

    def __init__(self, torch: Any, end_tokens: frozenset[int]) -> None:
        self._torch, self._end = torch, end_tokens

    def row(self, sampling: Sampling) -> Row:
        """Creates the row of a new sequence; its random generator uses the request's seed, else a random
        one."""
        generator = self._torch.Generator(device="cpu")
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed % 2**63)
        return Row(sampling, generator)

    def choose(self, rows: Sequence[Row | None], scores: Any) -> list[int]:
        """The next token of each row, from ``scores``: the model's 32-bit logits, [rows, vocabulary].

        A row that is None gets any token. Values are read from the device once for all rows, as each read
        waits for the device.
        """
        logprobs = {
            place: self._torch.log_softmax(scores[place], -1)
            for place, row in enumerate(rows)
            if row is not None and row.sampling.top_logprobs is not None
        }
        if self._end and (held := [place for place, row in enumerate(rows) if row and _must_go_on(row)]):
            scores = scores.clone()
            scores[self._torch.tensor(held)[:, None], self._torch.tensor(sorted(self._end))] = -float("inf")
        highest, places = scores.max(-1)
        likeliest: list[int] = places.tolist()
        are_numbers: list[bool] = highest.isfinite().tolist()
        chosen: list[int] = []
        for place, row in enumerate(rows):
            if row is not None and not are_numbers[place]:
                row.has_failed = True  # an error here would end the thread of all requests
            if row is None or row.has_failed:
                chosen.append(0)
                continue
            greedy = row.sampling.temperature < 1e-5
            token = likeliest[place] if greedy else self._drawn(row, scores[place])
            row.chosen.append(self._chosen(token, logprobs.get(place), row.sampling.top_logprobs or 0))
            chosen.append(token)
        return chosen

    def _drawn(self, row: Row, scores: Any) -> int:
        torch, sampling = self._torch, row.sampling
        # From the highest one on, so that nothing overflows: a row without a token ends the thread of all.
        scores = (scores - scores.max()) / sampling.temperature
        if sampling.top_k and sampling.top_k < scores.shape[-1]:
            least = torch.topk(scores, sampling.top_k).values[-1]
            scores = scores.masked_fill(scores < least, -float("inf"))
        probabilities = torch.softmax(scores, -1)
        if sampling.top_p < 1:
            ordered, places = probabilities.sort(descending=True)
            # A token stays while those before it have not reached top_p; the first always does.
            reached = ordered.cumsum(-1) - ordered >= sampling.top_p
            ordered[reached] = 0
            probabilities = torch.zeros_like(probabilities).scatter_(0, places, ordered)
        return int(torch.multinomial(probabilities.cpu(), 1, generator=row.generator))

    def _chosen(self, token: int, logprobs: Any, top: int) -> Token:
        if logprobs is None:
            return Token(token=token)
        return Token(token=token, logprob=float(logprobs[token]), top=self.most_likely(logprobs, top))

    def most_likely(self, logprobs: Any, count: int) -> tuple[TokenLogprob, ...]:
        """The ``count`` best of [vocabulary] log-probabilities, best first."""
        if not count:
            return ()
        values, places = self._torch.topk(logprobs, count)
        return tuple(TokenLogprob(t, v) for t, v in zip(places.tolist(), values.tolist(), strict=True))


def _must_go_on(row: Row) -> bool:
    sampling = row.sampling
    return len(row.chosen) < sampling.min_tokens and not sampling.ignore_eos


def make_runner(processor: Any, sampler: Sampler, rows: dict[str, Row]) -> Any:
    """A model runner for ``processor`` (transformers' ContinuousBatchProcessor) that samples with
    ``sampler``.

    ``rows`` maps a request to its row. Only the sampling is replaced: the scheduler, the paged cache and the
    forward pass stay the library's. It reads Python objects, so it runs without CUDA graphs.
    """
    from transformers.generation.continuous_batching.model_runner import ModelRunner

    class RowRunner(ModelRunner):  # type: ignore[misc]  # a base without types
        def _forward_process_and_sample(
            self, model: Any, batch_data: Any, _carry_over: Any, _previous: Any, output_ids: Any
        ) -> None:
            logits = model(**batch_data).logits
            if "logits_to_keep" not in batch_data:
                logits = logits[:, batch_data["logits_indices"], :]
            scores = logits[0].float()
            states = [
                future.state for future in self.inputs_and_outputs.requests_in_batch if future.has_new_token
            ]
            if not states:
                return
            # A request that was just cancelled has no row; its token is dropped. The library reads requests
            # before cancellations: of one that came in between, it forgot the cancellation.
            for state in states:
                if state.request_id not in rows:
                    processor.scheduler.set_request_cancellation(state.request_id)
            tokens = sampler.choose([rows.get(state.request_id) for state in states], scores[: len(states)])
            output_ids[0, : len(tokens)] = output_ids.new_tensor(tokens)

    return RowRunner(
        logit_processor=processor.logit_processor,
        cb_config=processor.cb_config,
        cache=processor.cache,
        inputs_and_outputs=processor.inputs_and_outputs,
        do_sample=False,
        return_logprobs=False,
    )
