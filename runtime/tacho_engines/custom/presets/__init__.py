"""Servers that others make, each as data in a file of its own."""

from __future__ import annotations

from tacho_engines.custom.presets import mlc, sglang, textgen, tgi, trtllm
from tacho_engines.row import Preset

PRESETS: tuple[Preset, ...] = (
    sglang.PRESET,
    tgi.PRESET,
    trtllm.PRESET,
    mlc.PRESET,
    textgen.PRESET,
)
