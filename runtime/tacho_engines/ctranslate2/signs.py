"""What CTranslate2's own lines say: about its start, and about why it ended."""

from __future__ import annotations

import re
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_engines.base import EngineFigures
from tacho_engines.shared.signs import Sign

SIGNS = (
    Sign(
        pattern=re.compile(r"tacho-ctranslate2: error: (?P<what>.*)"),
        failure_class=FailureClass.INVALID_CONFIG,
        message="CTranslate2's server refuses its arguments: {what}",
        next_step="correct engine.extraArgs",
    ),
    Sign(
        pattern=re.compile(r"No module named '(?P<module>ctranslate2|transformers|tacho_server|fastapi)"),
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="the Python that runs the engine lacks the package {module}",
        next_step="take the image that tacho builds, or install the extra ctranslate2",
    ),
)
FALLBACK_LIMIT = 8
_LOADED = re.compile(r"tacho-ctranslate2: loaded (?P<bytes>\d+) bytes of weights in (?P<seconds>[\d.]+) s")
_FALLBACK = re.compile(r"tacho-ctranslate2: fallback: (?P<words>.*)")
_NO_CHAT = re.compile(r"tacho-ctranslate2: chat: no \((?P<why>.*)\)")


def read(figures: EngineFigures, line: str) -> EngineFigures:
    """``figures`` with what one more line says."""
    if loaded := _LOADED.search(line):
        return replace(figures, weights_bytes=int(loaded["bytes"]), load_seconds=float(loaded["seconds"]))
    if said := _FALLBACK.search(line):
        return _with(figures, said["words"])
    if none := _NO_CHAT.search(line):
        return _with(figures, f"/v1/chat/completions is refused: {none['why']}")
    return figures


def _with(figures: EngineFigures, words: str) -> EngineFigures:
    if words in figures.fallbacks or len(figures.fallbacks) >= FALLBACK_LIMIT:
        return figures
    return replace(figures, fallbacks=(*figures.fallbacks, words))
