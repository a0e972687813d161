"""The switches that a plan freezes for llama.cpp."""

from __future__ import annotations

from tacho_engines.base import Placement
from tacho_engines.llamacpp.placing import LAYER, TENSOR
from tacho_engines.shared.switches import parse_arguments

TEMPLATE = "chat-template"
STAND_IN_TEMPLATE = (f"--{TEMPLATE}", "chatml")
"""What llama.cpp takes in silence for a model without a template (common_chat_templates_init); said aloud, it
is part of the plan."""
ON_GPUS = ("--n-gpu-layers", "999", "--fit", "off")
"""Every layer, and nothing of what was planned lowered where memory lacks: that is a failure with a class."""


def arguments(placement: Placement) -> tuple[str, ...]:
    """On GPUs every layer is offloaded, which is what the memory model adds up; on the host nothing is."""
    words = () if placement.device.on_host else (*ON_GPUS, *_split(placement))
    return (*words, *STAND_IN_TEMPLATE) if stands_in(placement) else words


def _split(placement: Placement) -> tuple[str, ...]:
    if placement.count < 2:
        return ()
    return ("--split-mode", TENSOR if placement.tensor > 1 else LAYER)


def stands_in(placement: Placement) -> bool:
    """Whether chats are formatted by a template that is not the model's own."""
    given = parse_arguments(placement.options.arguments)
    return placement.facts.chat_template is False and not any(name.startswith(TEMPLATE) for name in given)
