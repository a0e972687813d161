"""What tacho knows of an engine that is the user's own: its place in a resource, and servers by name."""

from __future__ import annotations

from tacho_engines.profile import (
    EngineImage,
    EngineProfile,
    EngineSpeed,
)

PROFILE = EngineProfile(
    name="custom",
    title="A custom engine",
    image=EngineImage(
        reference="", version="", entrypoint=(), uid=-1, verified_by="the command is the user's"
    ),
    devices=("gpu", "cpu"),
    formats=("safetensors", "gguf", "ct2", "pytorch", "custom"),
    methods=(),
    speed=EngineSpeed(efficiency=0.0, batching=True),
    built=True,
    predicted=False,
)
