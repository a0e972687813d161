"""What ``tacho_server`` is told beyond the plain OpenAI API (its ``schema.py``), and says of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tacho_engines.shared.openai import COMMON, Limits, whole_number


def _limits(model: Mapping[str, Any]) -> Limits:
    return Limits(
        max_model_len=whole_number(model.get("max_model_len")),
        vocabulary=whole_number(model.get("vocabulary")),
    )


DIALECT = replace(COMMON, name="transformers", owner="transformers", limits=_limits)
