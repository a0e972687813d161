"""Whether a model runs in vLLM's own class of its architecture, which its source says things about."""

from __future__ import annotations

from tacho_engines.base import Placement
from tacho_engines.shared.images import is_upstreams
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.settings import switches


def is_users_build(placement: Placement) -> bool:
    """Whether the user set an image that is not upstream's, and so may have more packages."""
    return placement.options.own_image and not is_upstreams(PROFILE, placement.image)


def in_vllms_class(placement: Placement) -> bool:
    """Whether an image of upstream's takes its own class, and not that of Transformers, which can more.

    Source: wheel 0.32.0, models/registry.py, models/transformers/base.py.
    """
    chosen = switches(placement.options).get("model-impl")
    return chosen != "transformers" and not is_users_build(placement)
