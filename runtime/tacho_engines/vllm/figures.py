"""What vLLM's log says of its start: weights, cache, graphs, seconds, and what it does otherwise than asked.

Read off real logs of 0.26 (H200) and 0.32 (CPU), which are in tests/fixtures/vllm, and the sources of 0.32.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tacho_contract.units import GIB
from tacho_engines.base import EngineFigures

MOST_FALLBACKS = 8
CLAUSE_CHARS = 160

_MODEL = re.compile(r"Model loading took ([\d.]+) GiB(?: memory)? and ([\d.]+) seconds")
_WEIGHTS = re.compile(r"Loading weights took ([\d.]+) seconds")
_CACHE = re.compile(
    r"Available KV cache memory: ([\d.]+) GiB|(?:Explicitly|Auto) set \(([\d.]+)/[\d.]+\) GiB"
)
_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_COMPILED = re.compile(
    r"torch\.compile (?:and initial profiling/warmup run together )?took ([\d.]+) s in total"
)
_GRAPHS = re.compile(r"Graph capturing finished in ([\d.]+) secs, took ([\d.]+) GiB")


def _gib(text: str) -> int:
    return int(float(text) * GIB)


def _most(before: float | None, now: float) -> float:
    return now if before is None else max(before, now)


def _largest(before: int | None, now: int) -> int:
    return now if before is None else max(before, now)


def _model(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    return replace(
        figures,
        weights_bytes=_largest(figures.weights_bytes, _gib(found[1])),
        load_seconds=_most(figures.load_seconds, float(found[2])),
    )


def _weights(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    return replace(figures, load_seconds=_most(figures.load_seconds, float(found[1])))


def _cache(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    return replace(figures, kv_cache_bytes=_largest(figures.kv_cache_bytes, _gib(found[1] or found[2])))


def _tokens(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    tokens = int(found[1].replace(",", ""))
    return replace(figures, kv_cache_tokens=_largest(figures.kv_cache_tokens, tokens))


def _compiled(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    return replace(figures, compile_seconds=_most(figures.compile_seconds, float(found[1])))


def _graphs(figures: EngineFigures, found: re.Match[str]) -> EngineFigures:
    return replace(
        figures,
        graph_seconds=_most(figures.graph_seconds, float(found[1])),
        graph_bytes=_largest(figures.graph_bytes, _gib(found[2])),
    )


READERS: tuple[tuple[re.Pattern[str], Callable[[EngineFigures, re.Match[str]], EngineFigures]], ...] = (
    (_MODEL, _model),
    (_WEIGHTS, _weights),
    (_CACHE, _cache),
    (_TOKENS, _tokens),
    (_COMPILED, _compiled),
    (_GRAPHS, _graphs),
)

FALLBACKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"does not have native support for (FP\d) computation"),
        r"\1 weights only, by Marlin: the GPU does not compute in \1",
    ),
    (re.compile(r"Enforce eager set"), "eager mode: nothing is compiled, no CUDA graphs"),
    (re.compile(r"using the V1 model runner instead"), "the V1 model runner instead of V2"),
    (
        re.compile(r"Using Marlin\w* for (\w+)"),
        r"Marlin kernels for \1 (Hopper's own are Machete's)",
    ),
    (
        re.compile(r"Using (?!FLASH|FLASHINFER|CUTLASS)(\w+) attention backend out of"),
        r"attention by \1 instead of FlashAttention or FlashInfer",
    ),
    (
        re.compile(r"doesn't support (?:torch\.)?(\w+)\. Falling back to (?:torch\.)?(\w+)"),
        r"\2 instead of \1, which the device lacks",
    ),
    (re.compile(r"([Ff]all(?:ing )?back to (?!memory node)[^.;]{3,120})"), r"\1"),
)
"""What a line says of a fallback, and the clause it is told as; the first that matches a line counts."""


def read(figures: EngineFigures, line: str) -> EngineFigures:
    """``figures`` with what ``line`` says besides. Of several workers the one that said most counts."""
    for pattern, reader in READERS:
        if found := pattern.search(line):
            figures = reader(figures, found)
    if len(figures.fallbacks) >= MOST_FALLBACKS:
        return figures
    for pattern, clause in FALLBACKS:
        if found := pattern.search(line):
            told = found.expand(clause)[:CLAUSE_CHARS]
            known = told in figures.fallbacks
            return figures if known else replace(figures, fallbacks=(*figures.fallbacks, told))
    return figures
