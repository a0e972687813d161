"""What CTranslate2 must have before it starts: room for what it converts, and who converts it."""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import MIB
from tacho_engines.base import Needs, PackageNeed

SLACK_BYTES = 64 * MIB
"""Vocabulary and what a file system keeps for itself: tacho_ctranslate2.source.SLACK_BYTES."""
FOLDER = "ctranslate2"
"""As tacho_ctranslate2.conversion.FOLDER."""
CONVERSION = "converting the checkpoint"


def needs(config: RuntimeConfig) -> Needs:
    """A model that is converted already, for which the plan asks for no quantization, needs nothing. What
    others become takes on the disk what it takes in memory."""
    if "--quantization" not in config.extra_args:
        return Needs()
    converted_bytes = config.predicted_weights_bytes
    return Needs(
        engine=("ctranslate2",),
        packages=tuple(PackageNeed(name=name, what=CONVERSION) for name in ("torch", "transformers")),
        cache_bytes=converted_bytes + SLACK_BYTES if converted_bytes else 0,
        cache_folder=FOLDER,
    )
