"""What quantization costs in quality: a perplexity against that of the same model as it was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_operator.api.types import Measurement, Quality
from tacho_operator.core.revisions.frozen import Revision

UNQUANTIZED = "none"


def compared(measurements: Sequence[Measurement], known: Mapping[str, Revision]) -> tuple[Measurement, ...]:
    """``measurements`` with the difference to the unquantized figure where that is among them.

    It must be of the same files, text and number of tokens; ``known``: revisions by name. What was compared
    once stays so when the other figure or its revision is gone.
    """
    plain = [item for item in measurements if item.quantization_method == UNQUANTIZED]
    return tuple(_compared(item, plain, known) for item in measurements)


def _compared(item: Measurement, plain: Sequence[Measurement], known: Mapping[str, Revision]) -> Measurement:
    if item.quality is None or item.quantization_method in (None, UNQUANTIZED):
        return item
    model = _model(item, known)
    for other in plain:
        delta = _delta_percent(item.quality, other.quality)
        if delta is not None and model and model == _model(other, known):
            quality = item.quality.model_copy(update={"perplexity_delta_percent": delta})
            return item.model_copy(update={"quality": quality})
    return item


def _model(item: Measurement, known: Mapping[str, Revision]) -> tuple[str, str] | None:
    revision = known.get(item.revision or "")
    return (revision.plan.files.digest, revision.plan.files.files_digest) if revision else None


def _delta_percent(found: Quality, plain: Quality | None) -> str | None:
    """Positive is worse. None where the two are not of the same tokens."""
    if plain is None or (found.text, found.tokens) != (plain.text, plain.tokens):
        return None
    if found.perplexity is None or plain.perplexity is None or not float(plain.perplexity):
        return None
    percent = 100 * (float(found.perplexity) / float(plain.perplexity) - 1)
    text = f"{percent:.2f}"
    return None if len(text) > 20 else "0.00" if text == "-0.00" else text
