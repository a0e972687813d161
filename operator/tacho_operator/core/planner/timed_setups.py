"""Which setups a law of step times covers: those that were timed, and those that differ little."""

from __future__ import annotations

from tacho_engines.base import Placement
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.memory.account import CapturedSteps
from tacho_engines.profile import KernelTiming, StepLaw
from tacho_engines.registry import planner_adapter
from tacho_engines.shared.images import version_key

SUCH_GPU = "on such a GPU"
TIMED_LAYERS = ("full", "sliding")
"""Kinds of attention in the timed models."""


def covers(row: KernelTiming, placement: Placement) -> bool:
    """Whether a row is of the placement's weights and version. An unknown version counts as the latest."""
    if placement.method.method not in row.methods:
        return False
    key, schemes = version_key(placement.version), placement.facts.quantization.schemes
    early = bool(row.since and key) and key < version_key(row.since)
    late = bool(row.before) and (not key or key >= version_key(row.before))
    alike = not row.schemes or set(schemes) <= set(row.schemes)
    partial = planner_adapter(placement.engine).partial_groups(placement)
    return alike and row.partial_groups == partial and not early and not late


def why_untimed(
    law: StepLaw | None, kernel: KernelTiming, placement: Placement, captured: CapturedSteps | None
) -> str:
    """In what a placement differs from all that were timed, as the end of a sentence."""
    if law is None:
        return SUCH_GPU
    if unlike := unlike_timed(law, placement):
        return unlike
    if kernel.experts != bool(placement.architecture.experts) or not covers(kernel, placement):
        return "with such weights"
    if captured is not None and not captured.usual:
        return "with such CUDA graphs"
    return f"{SUCH_GPU} and version"


def unlike_timed(law: StepLaw, placement: Placement) -> str:
    """In what a placement differs from those that were timed, as the end of a sentence; "": it is a text
    model on whole GPUs of that generation, in no earlier version, with no setting that changes speed.
    """
    options, device, architecture = placement.options, placement.device, placement.architecture
    kinds = {group.kind for group in architecture.layer_groups}
    switches = planner_adapter(placement.engine).switches(options)
    alone = placement.count == placement.tensor == placement.pipeline == 1
    causes = {
        SUCH_GPU: device.capability != law.capability,
        "on a part of a GPU": is_slice(device),
        "with its layers spread so": not alone and not _is_split_alike(law, placement),
        "with a model of images": architecture.multimodal,
        "with such layers": architecture.layers < 1 or not kinds <= set(TIMED_LAYERS),
        "with so early a version": version_key(placement.version) < version_key(law.version),
        "with such arguments or variables": not {*switches, *options.env} <= set(law.alike),
    }
    return next((cause for cause, differs in causes.items() if differs), "")


def _is_split_alike(law: StepLaw, placement: Placement) -> bool:
    """Whether a dense model's layers are split over as many GPUs, and such ones, as were timed."""
    split = law.split
    return (
        split is not None
        and placement.pipeline == 1
        and placement.count == placement.tensor <= split.gpus
        and placement.method.method in split.methods
        and placement.device.product in split.products
        and not placement.architecture.experts
    )
