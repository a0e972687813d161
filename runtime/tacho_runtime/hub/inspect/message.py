"""An inspect result that fits the termination message, whatever was found."""

from __future__ import annotations

from dataclasses import replace

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.inspection import InspectResult
from tacho_contract.model import ModelFacts, TensorClass
from tacho_contract.units import clipped

LIMIT_BYTES = 4096
"""The kubelet keeps 4 KiB of a container's message, and cuts the rest without a warning."""
KEPT_CLASSES = (24, 16, 10, 6)
UNKNOWN_LIMIT = 12
UNKNOWN_TEXT_LIMIT = 160


def packed_within_limit(result: InspectResult, limit_bytes: int = LIMIT_BYTES) -> str:
    """``result`` packed; what does not fit is left out, least important first, and ``unknown`` says so."""
    if result.failure:
        result = InspectResult(failure=_short_failure(result.failure))
    packed = codec.pack(result)
    if result.facts and len(packed) > limit_bytes:
        for kept in KEPT_CLASSES:
            packed = codec.pack(InspectResult(facts=_shortened(result.facts, kept)))
            if len(packed) <= limit_bytes:
                break
        else:
            packed = codec.pack(InspectResult(failure=_too_many_files(result.facts)))
    if len(packed) > limit_bytes:
        raise AssertionError(f"a result of {len(packed)} bytes does not fit {limit_bytes}")
    return packed


def _short_failure(failure: Failure) -> Failure:
    return replace(failure, message=clipped(failure.message, 1600), next_step=clipped(failure.next_step, 600))


def _shortened(facts: ModelFacts, kept: int) -> ModelFacts:
    """``facts`` with only the ``kept`` largest tensor classes of their own, the rest added up by dtype."""
    rest: dict[str, TensorClass] = {}
    for small in facts.tensors[kept:]:
        sum_so_far = rest.get(small.dtype) or TensorClass(
            kind="other", dtype=small.dtype, tensors=0, parameters=0, stored_bytes=0
        )
        rest[small.dtype] = replace(
            sum_so_far,
            tensors=sum_so_far.tensors + small.tensors,
            parameters=sum_so_far.parameters + small.parameters,
            stored_bytes=sum_so_far.stored_bytes + small.stored_bytes,
        )
    unknown = tuple(clipped(text, UNKNOWN_TEXT_LIMIT) for text in facts.unknown[:UNKNOWN_LIMIT])
    note = (
        f"the kinds of the {len(facts.tensors) - kept} smallest tensor classes (they did not fit the message)"
    )
    return replace(
        facts,
        tensors=facts.tensors[:kept] + tuple(rest[dtype] for dtype in sorted(rest)[:16]),
        unknown=(*unknown, note) if len(facts.tensors) > kept else unknown,
    )


def _too_many_files(facts: ModelFacts) -> Failure:
    return Failure(
        failure_class=FailureClass.MODEL_INVALID,
        message=f"Naming exactly the {facts.files.file_count} files to load takes "
        f"{len(facts.files.globs)} patterns, more than fit a report.",
        next_step="Select the files with at most 8 patterns in spec.model.files.",
    )
