from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import CLASS_LIMIT, InspectResult, TensorClass
from tacho_runtime.hub.failures import classify
from tacho_runtime.hub.inspect import LIMIT_BYTES, packed_within_limit
from tools.mock.checkpoints import NAMES, facts_for


@pytest.mark.parametrize("name", [*NAMES, "llama-3.1-8b-awq", "llama-3.1-8b-bnb-nf4"])
def test_real_models_fit_whole(name: str) -> None:
    packed = packed_within_limit(InspectResult(facts=facts_for(name)))
    assert len(packed) <= LIMIT_BYTES // 2
    assert codec.unpack(InspectResult, packed).facts == facts_for(name)


def noise(n: int) -> str:
    """Text that does not compress."""
    return "".join(chr(33 + (i * i * 7919 + n * 104729) % 90) for i in range(60))


def test_too_many_classes_are_added_up_and_said() -> None:
    classes = tuple(
        TensorClass(kind=noise(n), dtype="F16", tensors=1, parameters=10, stored_bytes=1000 - n)
        for n in range(200)
    )
    facts = replace(facts_for("small"), tensors=classes)
    packed = packed_within_limit(InspectResult(facts=facts))
    assert len(packed) <= LIMIT_BYTES
    sent = codec.unpack(InspectResult, packed).facts
    assert sent is not None
    assert sum(c.stored_bytes for c in sent.tensors) == sum(c.stored_bytes for c in classes)
    assert any("did not fit" in line for line in sent.unknown)


def test_classes_that_would_fit_the_message_are_bounded_too() -> None:
    classes = tuple(
        TensorClass(kind=f"k{n}", dtype="F16", tensors=1, parameters=1, stored_bytes=1) for n in range(200)
    )
    facts = replace(facts_for("small"), tensors=classes)
    sent = codec.unpack(InspectResult, packed_within_limit(InspectResult(facts=facts))).facts
    assert sent is not None
    assert (len(sent.tensors), sum(item.tensors for item in sent.tensors)) == (CLASS_LIMIT, 200)


def test_too_many_patterns_are_a_failure() -> None:
    small = facts_for("small")
    facts = replace(small, files=replace(small.files, globs=tuple(noise(n) for n in range(400))))
    sent = codec.unpack(InspectResult, packed_within_limit(InspectResult(facts=facts)))
    assert sent.failure is not None
    assert sent.failure.failure_class == FailureClass.MODEL_INVALID
    assert "spec.model.files" in sent.failure.next_step


def test_long_failure_is_shortened() -> None:
    failure = Failure(failure_class="X", message="".join(noise(n) for n in range(500)), next_step="n" * 9000)
    packed = packed_within_limit(InspectResult(failure=failure))
    assert len(packed) <= LIMIT_BYTES
    sent = codec.unpack(InspectResult, packed).failure
    assert sent is not None
    assert sent.message.startswith(failure.message[:500])


def test_a_failure_with_names_that_do_not_compress_is_told() -> None:
    drawn = Random(1)
    rare = "".join(chr(drawn.randrange(0x20000, 0x2A6D0)) for _ in range(1100))
    failure = Failure(failure_class="X", message=rare, next_step=rare)
    packed = packed_within_limit(InspectResult(failure=failure))
    assert len(packed) <= LIMIT_BYTES
    sent = codec.unpack(InspectResult, packed).failure
    assert sent is not None
    assert (sent.failure_class, sent.message[:390]) == ("X", rare[:390])


def test_a_number_of_the_hub_without_end_is_no_pause_of_its() -> None:
    """Python's error is the same as for a Retry-After of so many digits, which is tried again."""
    try:
        json.loads('{"size": ' + "9" * 5000 + "}")
    except ValueError as error:
        hub = {"repository": "acme/model", "revision": "main", "endpoint": "https://hub", "token": ""}
        failure = classify(error, **hub).failure
    assert not failure.retryable
    assert "did not answer like a model hub" in failure.message
