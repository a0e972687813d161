"""What all presets have in common: a server on GPUs whose memory nothing is predicted of."""

from __future__ import annotations

from tacho_engines.row import EngineRow, Refused

NOTHING = Refused()


def server(
    title: str,
    version: str,
    command: tuple[str, ...],
    *,
    image: str = "",
    python: str = "python3",
    refused: Refused = NOTHING,
) -> EngineRow:
    """The row of a server. ``image`` "": upstream publishes none that a restricted pod can start."""
    return EngineRow(
        name="custom",
        title=title,
        image=image,
        version=version,
        entrypoint=command,
        python=python,
        uid=-1,
        devices=("gpu",),
        formats=("safetensors", "pytorch", "gguf", "ct2", "custom"),
        methods=(),
        efficiency=0.0,
        batching=True,
        built=True,
        predicted=False,
        refused=refused,
    )
