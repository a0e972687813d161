"""What tacho knows of an engine that is the user's own: its place in a resource, and servers by name."""

from __future__ import annotations

from tacho_engines.custom.presets import PRESETS
from tacho_engines.row import EngineRow

ROW = EngineRow(
    name="custom",
    title="A custom engine",
    image="",
    version="",
    entrypoint=(),
    uid=-1,
    devices=("gpu", "cpu"),
    formats=("safetensors", "gguf", "ct2", "pytorch", "custom"),
    methods=(),
    efficiency=0.0,
    batching=True,
    built=True,
    predicted=False,
    verified_by="the command is the user's",
    presets=PRESETS,
)
