"""What the backend decides without CTranslate2: options, room, causes, and what is wrong before a start."""

from __future__ import annotations

import errno
import json
import sys
import threading
import time
from types import SimpleNamespace

import numpy
import pytest

from benchmarks.planner.placements import host, placement
from tacho_ctranslate2 import backend, steps
from tacho_ctranslate2.backend import TokenBudget, shares
from tacho_ctranslate2.conversion import ConversionPlan, check
from tacho_ctranslate2.convert import NO_MEMORY, NO_SPACE, NOT_CONVERTIBLE, main, problem
from tacho_ctranslate2.model_folder import end_tokens
from tacho_ctranslate2.steps import options, rows, token_of
from tacho_engines.base import Context
from tacho_engines.ctranslate2 import memory
from tacho_server.backend import Sampling
from tacho_server.errors import LoadError


def test_greedy_and_sampled():
    assert options(Sampling(max_tokens=5, temperature=0), ())["sampling_topk"] == 1
    drawn = options(Sampling(max_tokens=5, temperature=0.7, top_p=0.9), (2,))
    assert (drawn["sampling_topk"], drawn["sampling_temperature"], drawn["sampling_topp"]) == (0, 0.7, 0.9)
    assert drawn["end_token"] == [2]


def test_an_exact_length_has_no_end_token():
    chosen = options(Sampling(max_tokens=5, min_tokens=3, ignore_eos=True), (2,))
    assert (chosen["end_token"], chosen["min_length"], chosen["max_length"]) == ([], 0, 5)


def test_without_a_known_end_the_models_own_counts():
    assert "end_token" not in options(Sampling(max_tokens=5), ())


@pytest.mark.parametrize(
    ("last", "token", "ignore", "finish"),
    [(False, 7, False, ""), (True, 2, False, "stop"), (True, 7, False, "length"), (True, 2, True, "length")],
)
def test_why_the_last_token_is_the_last(last, token, ignore, finish):
    step = SimpleNamespace(is_last=last, token_id=token)
    assert token_of(step, Sampling(max_tokens=5, ignore_eos=ignore), (2,)).finish == finish


class View:
    """A StorageView of one row, as of 4.8.5: numpy reads it on the host, and not in bfloat16."""

    def __init__(self, device: str, dtype: str) -> None:
        self.device, self.dtype = device, dtype

    def to_device(self, device: str) -> View:
        return View(device, self.dtype)

    def to(self, dtype: str) -> View:
        return View(self.device, dtype)

    def __array__(self, *_arguments: object, **_options: object) -> object:
        if self.device != "cpu" or self.dtype == "bfloat16":
            raise RuntimeError("Data is not readable")
        return numpy.array([[[-1.0, -3.0]]], dtype=self.dtype)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_log_probabilities_are_read_on_any_device(monkeypatch, device, dtype):
    library = SimpleNamespace(Device=SimpleNamespace(cpu="cpu"), DataType=SimpleNamespace(float32="float32"))
    monkeypatch.setattr(steps, "_ctranslate2", lambda: library)
    found = rows(View(device, dtype))
    assert (found.tolist(), found.dtype.name) == ([[-1.0, -3.0]], "float32")
    step = SimpleNamespace(is_last=False, token_id=0, logits=View(device, dtype))
    token = token_of(step, Sampling(max_tokens=5, top_logprobs=1), ())
    assert token.logprob == pytest.approx(-0.127, abs=0.001)
    assert [top.token for top in token.top] == [0]


@pytest.mark.parametrize(
    ("cpus", "concurrency", "workers", "threads"), [(2, 4, 2, 1), (16, 4, 4, 4), (2, 1, 1, 2), (1, 8, 1, 1)]
)
def test_cpus_are_shared_out(cpus, concurrency, workers, threads):
    assert shares(cpus, concurrency) == (workers, threads)


def test_prompts_wait_for_room_and_one_always_fits():
    room, entered = TokenBudget(10), threading.Event()
    room.take(50)
    waiting = threading.Thread(target=lambda: (room.take(3), entered.set()))
    waiting.start()
    assert not entered.wait(0.1)
    room.give(50)
    assert entered.wait(5)
    room.take(7)
    waiting.join()


def test_short_prompts_do_not_overtake_a_long_one():
    """With three of them in turn, one of the whole budget waited for 12 s."""
    room, taken = TokenBudget(10), []

    def take(tokens):
        room.take(tokens)
        taken.append(tokens)

    room.take(5)
    threads = []
    for tokens in (10, 3):
        threads.append(threading.Thread(target=take, args=(tokens,)))
        threads[-1].start()
        while len(room._waiting) < len(threads):
            time.sleep(0.001)
    assert taken == []
    room.give(5)
    threads[0].join(5)
    assert taken == [10]
    room.give(10)
    threads[1].join(5)
    assert taken == [10, 3]


@pytest.mark.parametrize(
    ("code", "failure_class"),
    [
        (-9, "HostOutOfMemory"),
        (-11, "EngineCrashed"),
        (NO_SPACE, "DiskFull"),
        (NOT_CONVERTIBLE, "ModelInvalid"),
        (1, "ModelInvalid"),
    ],
)
def test_why_a_conversion_ended(code, failure_class):
    assert problem(code, "the last line").failure_class == failure_class


@pytest.mark.parametrize(
    ("code", "last"),
    [
        (NO_MEMORY, "MemoryError"),
        (1, "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        (-6, "what():  std::bad_alloc"),
    ],
)
def test_a_conversion_without_memory_is_no_fault_of_the_model(code: int, last: str) -> None:
    """It was ModelInvalid, which is not tried again."""
    error = problem(code, last)
    assert error.failure_class == "HostOutOfMemory"
    assert last in error.message


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_a_converter_says_that_it_got_no_memory(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Converter:
        def __init__(self, *_given: object, **_options: object) -> None:
            raise error

    monkeypatch.setitem(
        sys.modules, "ctranslate2.converters", SimpleNamespace(TransformersConverter=Converter)
    )
    assert main(["source", "target", "int8"]) == NO_MEMORY
    assert capsys.readouterr().err.strip()


def test_weights_as_pickle_are_refused_with_a_next_step():
    error = problem(NOT_CONVERTIBLE, "Error no file named model.safetensors found in directory /m.")
    assert (error.failure_class, "safetensors" in error.next_step) == ("ModelInvalid", True)


def test_several_tokens_may_end_an_answer(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert end_tokens(tmp_path) == (7,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert end_tokens(tmp_path) == (1, 2)


@pytest.mark.parametrize(
    ("generation", "end_token", "ends"),
    [({}, 2, (2,)), ({"eos_token_id": [1, 2]}, 2, (1, 2)), ({}, None, ())],
    ids=["the tokenizer's", "the model's own", "none"],
)
def test_a_converted_models_ends_are_its_own_else_its_tokenizers(
    monkeypatch, tmp_path, generation, end_token, ends
):
    """The converter writes no ids: each answer that had ended was said to have been cut."""
    (tmp_path / "model.bin").touch()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    (tmp_path / "vocabulary.json").write_text(json.dumps(["<unk>", "<s>", "</s>"]))
    library = SimpleNamespace(Generator=lambda *_, **__: SimpleNamespace(compute_type="float32"))
    tokenizer = SimpleNamespace(end_token=end_token)
    for name, module in {"torch": None, "transformers": None, "ctranslate2": library}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(backend, "import_module", sys.modules.get)
    monkeypatch.setattr(backend, "version", lambda _package: "4.8.5")
    monkeypatch.setattr(backend.HuggingFaceTokenizer, "load", lambda *_, **__: tokenizer)
    plan = ConversionPlan(source=tmp_path, quantization="", cache=tmp_path)
    loaded = backend.CTranslate2Backend(plan, device="cpu", max_model_len=8, concurrency=1)
    loaded.load()
    loaded.close()
    assert loaded._end_tokens == ends


def test_a_checkpoint_needs_a_method(tmp_path):
    with pytest.raises(LoadError) as raised:
        check(ConversionPlan(source=tmp_path, quantization="", cache=tmp_path))
    assert raised.value.failure_class == "InvalidConfig"


@pytest.mark.parametrize(
    ("concurrency", "cpus", "workers"), [(4, None, 4), (4, 2.0, 2), (4, 1.5, 2), (4, 0.1, 1), (2, 8.0, 2)]
)
def test_the_rows_of_log_probabilities_of_each_worker_are_planned(
    concurrency: int, cpus: float | None, workers: int
) -> None:
    found = memory.account(
        placement("ctranslate2", "llama-3.1-8b", "ct2-int8", host(), count=0, usable_cpus=cpus),
        Context(2048, concurrency),
    )
    assert memory.SEGMENT_BYTES == backend.SEGMENT_BYTES
    assert memory.SCORING_BYTES == backend.SCORING_BYTES
    rows = memory.SCORING_BYTES + workers * memory.SEGMENT_BYTES
    assert found.other_bytes == memory.PROCESS_BYTES + rows
    assert shares(int(cpus or 64) or 1, concurrency)[0] <= workers
