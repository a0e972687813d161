"""Patterns of the log of CTranslate2's server: startup values, and causes of failure."""

from __future__ import annotations

import re

from tacho_contract.failure import FailureClass
from tacho_engines.shared.log_patterns import FailurePattern, StartupPatterns

STARTUP = StartupPatterns(
    last_values=(
        re.compile(
            r"tacho-ctranslate2: loaded (?P<weights_bytes>\d+) bytes of weights in (?P<load_seconds>[\d.]+) s"
        ),
    ),
    fallbacks=(
        (re.compile(r"tacho-ctranslate2: fallback: (.*)"), r"\1"),
        (re.compile(r"tacho-ctranslate2: chat: no \((.*)\)"), r"/v1/chat/completions is refused: \1"),
    ),
)
FAILURES = (
    FailurePattern(
        pattern=re.compile(r"tacho-ctranslate2: error: (?P<what>.*)"),
        failure_class=FailureClass.INVALID_CONFIG,
        message="CTranslate2's server refuses its arguments: {what}",
        next_step="correct engine.extraArgs",
    ),
)
