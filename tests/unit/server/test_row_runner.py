"""What the runner of the Transformers backend does with each step of the batch, without the library."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tacho_transformers.sampling import make_runner

PARENTS = ("transformers", "transformers.generation", "transformers.generation.continuous_batching")


class ModelRunner:
    def __init__(self, *, inputs_and_outputs: Any, **_options: Any) -> None:
        self.inputs_and_outputs = inputs_and_outputs


class Scores(list[float]):
    def float(self) -> Scores:
        return self


class Output:
    """The library's tensor of chosen tokens."""

    def new_tensor(self, values: list[int]) -> list[int]:
        return values

    def __setitem__(self, _place: Any, _values: Any) -> None: ...


def test_a_request_that_nobody_waits_for_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library forgets a cancellation that it reads before the request, and computed it to its end."""
    for name in PARENTS:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    library = SimpleNamespace(ModelRunner=ModelRunner)
    monkeypatch.setitem(sys.modules, f"{PARENTS[-1]}.model_runner", library)
    cancelled: list[str] = []
    states = [SimpleNamespace(request_id=name) for name in ("kept", "left")]
    batch = [SimpleNamespace(state=state, has_new_token=True) for state in states]
    processor = SimpleNamespace(
        logit_processor=None,
        cb_config=None,
        cache=None,
        inputs_and_outputs=SimpleNamespace(requests_in_batch=batch),
        scheduler=SimpleNamespace(set_request_cancellation=cancelled.append),
    )
    sampler: Any = SimpleNamespace(choose=lambda rows, _scores: [7 for _ in rows])
    row: Any = SimpleNamespace()
    runner = make_runner(processor, sampler, {"kept": row})
    step = {"logits_to_keep": None}
    logits = [Scores([1.0, 2.0])]
    runner._forward_process_and_sample(lambda **_: SimpleNamespace(logits=logits), step, None, None, Output())
    assert cancelled == ["left"]
