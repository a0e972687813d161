"""CTranslate2's Generator as a backend of the shared server.

Requests are not batched: CTranslate2 cannot add one to a running batch. It also computes the surplus of
longer prompts token by token: 400 and 16 tokens together took ten times as long as one after the other.
Instead, workers that share the weights process as many requests as there are CPUs; others wait in order.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tacho_ctranslate2 import steps
from tacho_ctranslate2.conversion import PROGRAM, ConversionPlan, prepared
from tacho_ctranslate2.model_folder import end_tokens
from tacho_server.backend import (
    Abilities,
    Generation,
    GenerationError,
    Occupancy,
    Sampling,
    Token,
    Tokenizer,
)
from tacho_server.errors import LoadError
from tacho_server.text import HuggingFaceTokenizer
from tacho_server.threads import Mailbox, Turns, usable_cpus


def shares(cpus: int, concurrency: int) -> tuple[int, int]:
    """(requests processed at the same time, threads per request), so that ``cpus`` suffice and at most
    ``concurrency`` requests run.
    """
    workers = max(1, min(concurrency, cpus))
    return workers, max(1, cpus // workers)


class TokenBudget:
    """Limits the prompts computed at a time: together at most ``most`` tokens; a single prompt is always
    admitted. They come in the order of arrival, so that short ones do not keep a long one waiting.

    CTranslate2 computes a row of the whole vocabulary for every token of a prompt. The limit keeps that
    memory at one longest prompt, however many requests there are.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def take(self, tokens: int) -> None:
        """Waits until the budget has ``tokens`` free, and takes them."""
        mine = object()
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: self._waiting[0] is mine and self._fits(tokens))
            self._waiting.popleft()
            self._taken += tokens
            self._changed.notify_all()

    def _fits(self, tokens: int) -> bool:
        return not self._taken or self._taken + tokens <= self._most

    def give(self, tokens: int) -> None:
        with self._changed:
            self._taken -= tokens
            self._changed.notify_all()


SCORING_BYTES = 256 * 1024**2
"""Most bytes for log-probabilities of a given text, two vocabulary rows per token; this limits its length.
One text at a time.
"""


SEGMENT_BYTES = 64 * 1024**2
"""Most bytes for the rows of a request that wants log-probabilities. An answer of 1,200 tokens kept 360 MB
for a vocabulary of 49,000; the next segment computes what is there again.
"""
CHECKS, CHECK_SECONDS = 3, 1.0
"""Number of requests that must fail after a failed one until the engine counts as failed, and the pause after
each in seconds.
"""


class CTranslate2Backend:
    """One model in CTranslate2; its workers compute several requests at a time."""

    name = "ctranslate2"

    def __init__(self, plan: ConversionPlan, *, device: str, max_model_len: int, concurrency: int) -> None:
        self._plan, self._device = plan, device
        self._max_model_len, self._concurrency = max_model_len, concurrency
        self._lock = threading.Lock()
        self._running = self._waiting = 0
        self._problem = ""
        # A thread of its own: texts that wait for their turn must not keep the pool from generating.
        self._scoring = Turns("score", 1)
        self._token_budget = TokenBudget(max_model_len)
        self._tokenizer: HuggingFaceTokenizer | None = None
        self._generator: Any = None
        self._vocabulary: list[str] = []
        self._end_tokens: tuple[int, ...] = ()
        self._turns: Turns | None = None

    @property
    def version(self) -> str:
        return version("ctranslate2")

    # --- loading ---------------------------------------------------------------------------------
    def load(self) -> None:
        source = self._plan.source
        # Without PyTorch, which is there for the converter: it would take 700 MiB of this process.
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: an import fails
        self._tokenizer = HuggingFaceTokenizer.load(
            import_module("transformers"),
            source,
            trust_remote_code=self._plan.trust_remote_code,
            max_model_len=self._max_model_len,
        )
        folder = prepared(self._plan, self.version)
        begin = time.monotonic()
        self._generator = self._load_generator(folder)
        self._vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        # A folder in CTranslate2's own format states no ids.
        ends = end_tokens(source) or (self._tokenizer.end_token,)
        self._end_tokens = tuple(one for one in ends if one is not None and 0 <= one < len(self._vocabulary))
        self._report(folder, time.monotonic() - begin)

    def _load_generator(self, folder: Path) -> Any:
        workers, threads = shares(usable_cpus(), self._concurrency)
        self._turns = Turns("generate", workers)
        ctranslate2: Any = import_module("ctranslate2")
        try:
            return ctranslate2.Generator(
                str(folder), self._device, inter_threads=workers, intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise _load_problem(str(error)) from None

    def _report(self, folder: Path, seconds: float) -> None:
        """Logs the values that the runtime parses from the log."""
        size = (folder / "model.bin").stat().st_size
        computed = self._generator.compute_type
        print(f"{PROGRAM}: weights {size} bytes, loaded in {seconds:.3f} s, computed in {computed}")
        if (requested := self._plan.quantization) and requested != computed:
            print(f"{PROGRAM}: falls back: computes in {computed}, because this device has no {requested}")
        workers, threads = shares(usable_cpus(), self._concurrency)
        print(f"{PROGRAM}: {workers} requests at a time, {threads} threads each", flush=True)

    # --- its model ------------------------------------------------------------------------------
    @property
    def tokenizer(self) -> Tokenizer:
        assert self._tokenizer is not None, "used before it was loaded"
        return self._tokenizer

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            max_model_len=self._max_model_len,
            vocabulary=len(self._vocabulary),
            top_logprobs=steps.TOP_LOGPROBS,
            scored_tokens=SCORING_BYTES // (8 * len(self._vocabulary)),
            seed=False,  # one random state for all requests
        )

    def occupancy(self) -> Occupancy:
        with self._lock:
            return Occupancy(running=self._running, waiting=self._waiting)

    def problem(self) -> str:
        return self._problem

    def close(self) -> None:
        self._scoring.close(wait=True)
        if self._turns is not None:
            self._turns.close(wait=True)

    # --- generating ------------------------------------------------------------------------------
    async def generate(self, generation: Generation) -> AsyncGenerator[Token, None]:
        """Generated tokens one after the other; leaving early ends the computation after the current
        token."""
        assert self._turns is not None, "used before it was loaded"
        cancelled = threading.Event()
        mailbox: Mailbox[Token] = Mailbox(cancelled.set, on_item=generation.on_token)
        self._waiting += 1
        try:
            await self._turns.start(partial(self._generate, generation, mailbox, cancelled))
        finally:
            self._waiting -= 1
        async for token in mailbox.read(cancelled.set):
            yield token

    def _generate(self, generation: Generation, mailbox: Mailbox[Token], cancelled: threading.Event) -> None:
        """Generates one request, in a thread."""
        with self._lock:
            self._running += 1
        try:
            if not cancelled.is_set():
                self._compute(generation, mailbox, cancelled)
            mailbox.end()
        except Exception as error:  # noqa: BLE001 - only this request fails
            mailbox.fail(GenerationError(f"{type(error).__name__}: {error}"))
            self._check_health()
        finally:
            with self._lock:
                self._running -= 1

    def _compute(self, generation: Generation, mailbox: Mailbox[Token], cancelled: threading.Event) -> None:
        """Generates in segments where log-probabilities are wanted: CTranslate2 keeps a row of the whole
        vocabulary for each of them until its call ends.
        """
        sampling, tokens = generation.sampling, list(generation.prompt)
        end, most = len(tokens) + sampling.max_tokens, sampling.max_tokens
        if sampling.top_logprobs is not None:
            most = max(1, SEGMENT_BYTES // (8 * len(self._vocabulary)))
        while len(tokens) < end and not cancelled.is_set():
            made = len(tokens) - len(generation.prompt)
            length = min(most, end - len(tokens))
            least = min(length, max(0, sampling.min_tokens - made))
            segment = replace(sampling, max_tokens=length, min_tokens=least)
            if not self._segment(tokens, segment, end, mailbox, cancelled):
                return

    def _segment(
        self,
        tokens: list[int],
        sampling: Sampling,
        end: int,
        mailbox: Mailbox[Token],
        cancelled: threading.Event,
    ) -> bool:
        """Adds the tokens of one call to ``tokens``, at most up to ``end``. Returns whether others follow."""
        given, inside = len(tokens), True

        def leave() -> None:
            """Frees the prompt's share of the budget after the first token."""
            nonlocal inside
            if inside:
                self._token_budget.give(given)
            inside = False

        def on_step(step: Any) -> bool:
            leave()
            token = steps.token_of(step, sampling, self._end_tokens)
            tokens.append(token.token)
            if token.finish == "length" and goes_on():
                token = replace(token, finish="")
            mailbox.put(token, 1 + len(token.top))
            return cancelled.is_set()

        def goes_on() -> bool:
            return len(tokens) < end and len(tokens) - given == sampling.max_tokens

        self._token_budget.take(given)
        try:
            self._generator.generate_batch(
                [[self._vocabulary[token] for token in tokens]],
                callback=on_step,
                **steps.options(sampling, self._end_tokens),
            )
        finally:
            leave()
        return goes_on() and (sampling.ignore_eos or tokens[-1] not in self._end_tokens)

    def _check_health(self) -> None:
        """After a failed request: whether the shortest one still works. A broken GPU fails each of them."""
        failed = ""
        for _ in range(CHECKS):
            try:
                self._generator.generate_batch([self._vocabulary[:1]], max_length=1)
                return
            except Exception as error:  # noqa: BLE001 - a lack of memory may pass
                failed = f"CTranslate2 does not compute any more ({type(error).__name__}: {error})"
            time.sleep(CHECK_SECONDS)
        self._problem = failed

    async def score(self, tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        return await self._scoring.run(partial(self._score, list(tokens), top_logprobs))

    def _score(self, tokens: list[int], top_logprobs: int) -> tuple[Token, ...]:
        found = self._generator.forward_batch([tokens], return_log_probs=True)
        return steps.scored(tokens, steps.rows(found), top_logprobs)


def _load_problem(message: str) -> LoadError:
    if "out of memory" in message.lower() or "failed to allocate" in message.lower():
        kind = "GPUOutOfMemory" if "CUDA" in message else "HostOutOfMemory"
        return LoadError(kind, message, "lower context or quantize further, or give it more memory")
    if "compute type" in message or "CUDA" in message:
        return LoadError("UnsupportedGPU", message, "choose another quantization.method or GPU")
    return LoadError("ModelInvalid", message, "convert the model again with this version of CTranslate2")
