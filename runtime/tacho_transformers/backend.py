"""Transformers as a backend of the server: its continuous batching, with sampling settings for each
request."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tacho_server.backend import Abilities, Generation, GenerationError, Occupancy, Token, TokenLogprob
from tacho_server.text import HuggingFaceTokenizer
from tacho_server.threads import Mailbox, Turns
from tacho_transformers.loading import (
    experts_left,
    give_back_freed,
    installed,
    load_model,
    weights_bytes,
)
from tacho_transformers.sampling import Row, Sampler, make_runner

PROGRAM = "transformers-server"
TOP_LOGPROBS = 20
NO_NUMBERS = "the model computed NaN or infinity, for this request or for one of the same batch"
"""The attention over a batch multiplies the values of all its requests: 0 times NaN is NaN."""
DELIVERED = Token(token=0)
"""Stands in a row for a token that its reader has."""
AHEAD = 4
"""Requests that the library has beyond its batch, so that one follows another without a step between them.
The others wait outside: in the library each token of a prompt takes some 56 bytes, in place of four.
"""
SCORE_BYTES = 48 * 1024**2
"""Maximum bytes of two copies in 32 bits of the logits of one pass, while given tokens are scored."""
SCORED_CACHE_BYTES, LEAST_SCORED_TOKENS = 128 * 1024**2, 256
"""Maximum bytes of keys and values of a text that is scored, which the plan counts, and tokens that it may
have at least. They lie beside the batch's cache: a text of 8,000 tokens took a GiB that no plan had.
"""


class TransformersBackend:
    """One model in Transformers. ``load`` is the first method that imports torch."""

    name = "transformers"

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.version = installed("transformers")
        self._rows: dict[str, Row] = {}
        self._closed = False
        # One text at a time: that is what the memory is for, and the batch makes a step in between. While
        # several threads hold the library's pause by turns, it makes none.
        self._scoring = Turns("score", 1)
        self._entries, self._waiting = asyncio.Semaphore(options.max_batch + AHEAD), 0

    # --- loading ---------------------------------------------------------------------------------
    def load(self) -> None:
        import torch
        import transformers

        self._torch = torch
        # Its cast of inputs to float16, 224 lines a token for an 8B model.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        torch.set_num_threads(self._options.threads)
        if self._options.device == "cuda":
            # From Hopper on torch prefers cuDNN's attention, which plans anew for each length it never met,
            # and a batch's is another at each step: 62 to 74 ms in place of 26 to 28 (8B on an H200).
            torch.backends.cuda.enable_cudnn_sdp(False)
        transformers.utils.logging.disable_progress_bar()
        begin = time.monotonic()
        self._model = load_model(self._options, torch, transformers)
        give_back_freed()
        _say(f"weights {weights_bytes(self._model)} bytes, loaded in {time.monotonic() - begin:.3f} s")
        self.tokenizer = HuggingFaceTokenizer.load(
            transformers,
            Path(self._options.model),
            trust_remote_code=self._options.trust_remote_code,
            max_model_len=self._options.max_model_len,
        )
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        self._end = _end_tokens(self._model, self.tokenizer.end_token, vocabulary)
        self._start_batching(transformers)
        attention = self._model.config._attn_implementation
        self.abilities = Abilities(
            max_model_len=self._options.max_model_len,
            vocabulary=vocabulary,
            top_logprobs=TOP_LOGPROBS,
            # The paged form of eager attention refuses a pass without the batch's cache.
            scored_tokens=self._scored_tokens() if attention == "sdpa" else 0,
        )
        _say(
            f"dtype {str(self._model.dtype).removeprefix('torch.')}, attention {attention}, "
            f"device {self._model.device.type}, threads {torch.get_num_threads()}, "
            f"quantization {self._options.quantization}"
        )
        if self._options.quantization != "none" and (left := experts_left(self._model)):
            _say(f"falls back: experts stay as stored, {left} bytes: bitsandbytes quantizes linear layers")
        if self._options.quantization == "bnb-int8" and self._model.dtype != torch.float16:
            _say("falls back: 8-bit products in float16, to which inputs are cast in each layer")

    def _start_batching(self, transformers: Any) -> None:
        options = self._options
        blocks = cache_blocks(options.max_model_len, options.max_batch, options.page_tokens)
        config = transformers.ContinuousBatchingConfig(
            page_size=options.page_tokens,
            num_blocks=blocks,
            max_batch_tokens=max(options.prefill_tokens, options.max_batch),
            max_requests_per_batch=options.max_batch,
            max_memory_percent=1.0,
            # There are blocks for all requests at their full length, so no margin is needed.
            safety_margin=0.0,
            # No prefix cache: measured prompts must have their full cost.
            allow_block_sharing=False,
            use_cuda_graph=False,
            use_async_batching=False,
            auto_switch_to_flash=False,
            max_blocks_per_request=0,
        )
        generation = transformers.GenerationConfig(do_sample=False, eos_token_id=-1)
        self._manager = self._model.init_continuous_batching(generation, config)
        self._manager.warmup()
        # What an answer that was forgotten still had is put there, with its prompt, and nothing reads it.
        self._manager.output_router.output_queue.put = lambda _output: None
        processor = self._manager.batch_processor
        sampler = Sampler(self._torch, frozenset(self._end))
        processor.model_runner = make_runner(processor, sampler, self._rows)
        self._sampler, self._processor = sampler, processor
        self._manager.start()
        cache = processor.cache
        _say(
            f"kv cache {cache.cache_tensor.numel()} bytes, {cache.num_blocks * options.page_tokens} tokens, "
            f"mask {_mask_bytes(processor)} bytes"
        )

    def _scored_tokens(self) -> int:
        cache, most = self._processor.cache, int(self._options.max_model_len)
        cells = cache.num_blocks * self._options.page_tokens
        token_bytes = cache.cache_tensor.numel() * cache.cache_tensor.element_size() / cells
        return min(most, max(LEAST_SCORED_TOKENS, int(SCORED_CACHE_BYTES / token_bytes)))

    # --- answering -------------------------------------------------------------------------------
    async def generate(self, generation: Generation) -> AsyncGenerator[Token, None]:
        self._waiting += 1
        try:
            await self._entries.acquire()
        finally:
            self._waiting -= 1
        with contextlib.ExitStack() as entry:
            entry.callback(self._entries.release)
            async with contextlib.aclosing(self._generate(generation, entry.close)) as tokens:
                async for token in tokens:
                    yield token

    async def _generate(
        self, generation: Generation, leave: Callable[[], None]
    ) -> AsyncGenerator[Token, None]:
        """``leave`` is called when the library has computed the answer, of which a client may read long."""
        identity, sampling = generation.identity, generation.sampling

        def give_up() -> None:
            self._manager.cancel_request(identity)
            leave()

        mailbox: Mailbox[Token] = Mailbox(give_up, leave, generation.on_token)
        row = self._sampler.row(sampling)
        given = 0

        def deliver(output: Any) -> None:
            nonlocal given
            over = output.is_finished()
            if output.error is not None:
                mailbox.fail(GenerationError(output.error))
                return
            if row.has_failed:
                mailbox.fail(GenerationError(NO_NUMBERS))
                return
            count = len(output.generated_tokens)
            for place in range(given, count):
                chosen = row.chosen[place]
                end = "" if not over or place + 1 < count else self._finish(chosen.token, sampling.ignore_eos)
                mailbox.put(replace(chosen, finish=end), 1 + len(chosen.top))
                row.chosen[place] = DELIVERED  # with 20 alternatives, 32,000 tokens take 80 MB
            given = count
            if over:
                mailbox.end()

        try:
            self._rows[identity] = row
            self._manager.register_result_handler(identity, deliver)
            taken = self._manager.add_request(
                list(generation.prompt),
                request_id=identity,
                max_new_tokens=sampling.max_tokens,
                streaming=True,
                eos_token_id=-1 if sampling.ignore_eos else list(self._end) or -1,
            )
            if taken is None:
                raise GenerationError("the generation thread takes no more requests")
            async for token in mailbox.read(lambda: None):
                yield token
        finally:
            self._forget(identity)

    def _finish(self, token: int, ignore_eos: bool) -> str:
        return "stop" if token in self._end and not ignore_eos else "length"

    def _forget(self, identity: str) -> None:
        """Cancels the request if it still runs, and removes its results."""
        self._manager.cancel_request(identity)
        self._manager.output_router.result_handlers.pop(identity, None)
        self._rows.pop(identity, None)

    async def score(self, tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        """Log-probabilities of the given tokens, computed in parts. Each part comes between two steps of the
        batch, while the library pauses it."""
        left = threading.Event()
        try:
            return await self._scoring.run(partial(self._score, list(tokens), top_logprobs, left))
        finally:
            left.set()

    def _score(self, tokens: list[int], top: int, left: threading.Event) -> list[Token]:
        """``left``: set when the client has gone, after which no further part is computed."""
        step = max(1, SCORE_BYTES // (8 * self.abilities.vocabulary))
        scored, past = [Token(token=tokens[0], logprob=None)], None
        for begin in range(0, len(tokens) - 1, step):
            if left.is_set():
                break
            # A pause for each part: for a whole long text, the batch would stand still for minutes.
            with self._manager.pause():
                past, found = self._score_part(tokens[begin : begin + step + 1], past, top)
            scored += found
        return scored

    def _score_part(self, tokens: list[int], past: Any, top: int) -> tuple[Any, list[Token]]:
        """(cache with all ``tokens`` but the last, log-probabilities of all but the first)."""
        torch = self._torch
        with torch.inference_mode():
            part = torch.tensor([tokens[:-1]]).to(self._model.device)
            made = self._model(input_ids=part, past_key_values=past, use_cache=True)
            rows = torch.log_softmax(made.logits[0].float(), -1)
            found = []
            for token, row in zip(tokens[1:], rows, strict=True):
                likely: tuple[TokenLogprob, ...] = self._sampler.most_likely(row, top)
                found.append(Token(token=token, logprob=float(row[token]), top=likely))
        return made.past_key_values, found

    # --- status ----------------------------------------------------------------------------------
    def occupancy(self) -> Occupancy:
        scheduler = self._processor.scheduler
        return Occupancy(
            running=len(scheduler.active_requests),
            waiting=len(scheduler.waiting_requests) + self._manager.input_queue.qsize() + self._waiting,
            kv_cache_usage=1.0 - float(self._processor.cache.compute_free_capacity()),
        )

    def problem(self) -> str:
        if self._closed or self._manager.is_running():
            return ""
        why = self._manager.background_thread_status.fatal_error
        return f"the generation thread has ended ({type(why).__name__}: {why})"

    def close(self) -> None:
        self._closed = True
        self._scoring.close(wait=False)
        self._manager.stop(block=True, timeout=2, hard_stop=True)


def _end_tokens(model: Any, of_tokenizer: int | None, vocabulary: int) -> tuple[int, ...]:
    """Token ids that end an answer, from the model's generation settings or its tokenizer.

    Ids outside the vocabulary are left out: with ``min_tokens`` they would fail the whole batch.
    """
    stated = model.generation_config.eos_token_id
    if stated is None:
        stated = of_tokenizer
    found = stated if isinstance(stated, list | tuple) else (stated,)
    return tuple(token for token in found if type(token) is int and 0 <= token < vocabulary)


def _mask_bytes(processor: Any) -> int:
    masks = processor.inputs_and_outputs.attention_mask or {}
    return sum(mask.numel() * mask.element_size() for mask in masks.values())


def _say(message: str) -> None:
    print(f"{PROGRAM}: {message}", flush=True)


def cache_blocks(max_model_len: int, max_batch: int, page_tokens: int) -> int:
    """Number of cache blocks that hold ``max_batch`` requests of ``max_model_len`` tokens, so that none is
    evicted."""
    return -(-max_model_len // page_tokens) * max_batch
