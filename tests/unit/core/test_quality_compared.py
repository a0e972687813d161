"""Perplexity against the unquantized model: of the same files and tokens, or not at all."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.api.status.measurement import ComparedQuality, MeasurementEntry
from tacho_operator.core.measurement.records import compared
from tacho_operator.core.revisions.controller_revision import Revision
from tools.harness.resources import plan


def revision(name: str, digest: str) -> Revision:
    made = dataclasses.replace(plan(), files=dataclasses.replace(plan().files, digest=digest))
    return Revision(
        name=name, number=1, plan=made, plan_key=name, facts_key="f", pod_template={}, tacho_image="t"
    )


KNOWN = {name: revision(name, digest) for name, digest in (("one", "a"), ("two", "a"), ("other", "b"))}


def measured(
    name: str, method: str, perplexity: str | None, text: str = "t", tokens: int = 677
) -> MeasurementEntry:
    quality = ComparedQuality(text=text, tokens=tokens, perplexity=float(perplexity) if perplexity else None)
    return MeasurementEntry(fingerprint=name, revision=name, quantization_method=method, quality=quality)


PLAIN = measured("one", "none", "46.393")


@pytest.mark.parametrize(
    ("found", "delta"),
    [
        (measured("two", "bnb-nf4", "58.455"), "26.00"),
        (measured("two", "bnb-int8", "45.929"), "-1.00"),
        (measured("two", "bnb-int8", "46.393"), "0.00"),
        (measured("two", "bnb-nf4", "58.455", text="another"), None),
        (measured("two", "bnb-nf4", "58.455", tokens=676), None),
        (measured("two", "bnb-nf4", None), None),
        (measured("two", "none", "58.455"), None),
        (measured("other", "bnb-nf4", "58.455"), None),
        (measured("gone", "bnb-nf4", "58.455"), None),
    ],
)
def test_the_difference_is_to_the_same_tokens_of_the_same_model(
    found: MeasurementEntry, delta: str | None
) -> None:
    plain, other = compared((PLAIN, found), KNOWN)
    assert plain == PLAIN
    assert other.quality is not None
    assert other.quality.perplexity_delta_percent == delta


def test_what_was_compared_once_stays() -> None:
    _, other = compared((PLAIN, measured("two", "bnb-nf4", "58.455")), KNOWN)
    (alone,) = compared((other,), {})
    assert alone.quality is not None
    assert alone.quality.perplexity_delta_percent == "26.00"
