"""What must hold for every plan.

Questions are drawn so that most of them have a plan: a method that the checkpoint and the engine have, GPUs
that hold the weights, a context that about fills the rest. Each property says how many of its draws must come
to one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.memory.kv import bytes_per_token
from tacho_engines.registry import engine_profiles
from tacho_engines.shared.compatibility import wrong_checkpoint
from tacho_operator.core.planner.devices import MAX_GPUS
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tests.properties import examples
from tools.mock.specs import CONFIG, cpu_node, gpu_node, spec

MODELS = (
    "llama-3.1-8b", "llama-3.1-8b-awq", "llama-3.1-70b", "mixtral-8x7b", "phi-2", "octocoder", "qwen2.5-0.5b",
    "qwen2.5-7b", "qwen3-30b-a3b", "gemma-3-4b", "deepseek-v3", "gpt-oss-20b", "jamba-v0.1", "nemotron-h-8b",
)  # fmt: skip
AMPERE = (8, 0)
MOST = 0.5
"""Usually nine tenths; draws are not independent of each other."""
ENOUGH = examples(0.6)


@dataclass(frozen=True)
class Ask:
    """A question; None and "" leave the answer to the planner."""

    model: str
    engine: str
    method: str
    product: str
    gpus: int
    length: int | None
    concurrency: int | None

    def plan(self, **changes: Any) -> ModelPlan | PlanFailure:
        asked = dataclasses.replace(self, **changes)
        found = spec(**fields(*dataclasses.astuple(asked)[1:]))
        return plan_model(found, facts(asked.model), nodes=None, history=(), config=CONFIG)

    def fits(self, **changes: Any) -> bool:
        return isinstance(self.plan(**changes), ModelPlan)


def fields(engine, method, product, gpus, length, concurrency):
    asks = {"gpu": {"products": [product], "count": gpus}}
    if engine:
        asks["engine"] = {"name": engine}
    if method:
        asks["quantization"] = {"method": method}
    context = {"maxModelLen": length, "concurrency": concurrency}
    return {**asks, "context": {name: value for name, value in context.items() if value}}


@cache
def ways(model: str) -> tuple[tuple[str, str], ...]:
    """Engines and methods that this checkpoint allows, and leaving both open."""
    found, name = facts(model), facts(model).architecture.name
    return (
        ("", ""),
        *(
            (engine.name, method.method)
            for engine in engine_profiles()
            if found.format in engine.formats and (not engine.architectures or name in engine.architectures)
            for method in engine.methods
            if not wrong_checkpoint(method, found)
        ),
    )


@cache
def places(model: str) -> tuple[tuple[str, int], ...]:
    """Products from Ampere on, and how many of them hold the weights with a quarter to spare."""
    stored = facts(model).files.total_bytes or sum(t.stored_bytes for t in facts(model).tensors)
    gpus = [gpu for gpu in (named_gpu(row.label) for row in GPUS) if gpu and gpu.capability >= AMPERE]
    return tuple(
        (gpu.product, count)
        for gpu in gpus
        for count in (1, 2, 4, 8)
        if 1.25 * stored < count * (gpu.memory_bytes or 0)
    )


@st.composite
def asks(draw: st.DrawFn, *, free: bool = False) -> Ask:
    """Where ``free``, engine, method and context are left open."""
    model = draw(st.sampled_from([name for name in MODELS if places(name)]))
    engine, method = ("", "") if free else draw(st.sampled_from(ways(model)))
    product, gpus = draw(st.sampled_from(places(model)))
    length = concurrency = None
    if not free:
        found = facts(model)
        device = named_gpu(product)
        room = 0.5 * gpus * device.memory_bytes - 0.5 * sum(t.stored_bytes for t in found.tensors)
        tokens = int(max(512.0, room / max(1.0, bytes_per_token(found.architecture, 2.0))))
        longest = min(tokens, found.architecture.max_positions)
        length = draw(st.integers(16, max(16, longest)))
        concurrency = draw(st.integers(1, max(1, min(64, tokens // length))))
    return Ask(model, engine, method, product, gpus, length, concurrency)


class Tally:
    """How many draws came to a plan."""

    def __init__(self) -> None:
        self.draws = self.planned = 0

    def saw(self, planned: bool) -> bool:
        self.draws += 1
        self.planned += planned
        return planned

    def at_least(self, share: float) -> None:
        assert self.planned >= share * self.draws > 0, f"{self.planned} of {self.draws} draws have a plan"


def test_more_context_never_fits_better():
    tally = Tally()

    @ENOUGH
    @given(asks(), st.integers(0, 3000), st.integers(0, 8))
    def holds(ask: Ask, shorter: int, fewer: int) -> None:
        if tally.saw(ask.fits()):
            less = {"length": max(16, ask.length - shorter), "concurrency": max(1, ask.concurrency - fewer)}
            assert ask.fits(**less)
        elif isinstance(found := ask.plan(), PlanFailure) and found.failure.failure_class == "DoesNotFit":
            assert not ask.fits(length=ask.length + shorter, concurrency=ask.concurrency + fewer)

    holds()
    tally.at_least(MOST)


def test_more_gpus_never_fit_less():
    tally = Tally()

    @ENOUGH
    @given(asks())
    def holds(ask: Ask) -> None:
        if tally.saw(ask.fits() and 2 * ask.gpus <= MAX_GPUS):
            again = ask.plan(gpus=2 * ask.gpus)
            assert isinstance(again, ModelPlan) or "one GPU" in again.failure.message, again

    holds()
    tally.at_least(MOST)


def test_nothing_is_negative_and_parts_stay_within_the_gpu():
    tally = Tally()

    @ENOUGH
    @given(asks(), st.booleans())
    def holds(ask: Ask, open_context: bool) -> None:
        found = ask.plan(**({"length": None, "concurrency": None} if open_context else {}))
        seen = found.predicted
        assert all(value >= 0 for value in dataclasses.astuple(seen) if value is not None)
        if not tally.saw(isinstance(found, ModelPlan)):
            details = found.failure.details
            assert all(not text.startswith("-") for text in details.values()), details
            if "neededBytes" in details:
                assert seen.budget_bytes == int(details["availableBytes"])
                too_long = "the model supports" in found.failure.message
                assert too_long or int(details["neededBytes"]) > seen.budget_bytes
            return
        assert found.max_model_len > 0
        assert found.concurrency > 0
        assert seen.total_bytes <= found.gpu_memory_bytes
        assert seen.weights_bytes < seen.budget_bytes
        assert seen.max_concurrency >= found.concurrency
        assert seen.decode_tokens_per_second > 0

    holds()
    tally.at_least(MOST)


def test_the_same_question_has_the_same_answer():
    tally = Tally()
    order = st.permutations(("Tesla-T4", "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", ""))

    @ENOUGH
    @given(st.sampled_from(MODELS), order, st.integers(1, 8))
    def holds(model: str, order: list[str], count: int) -> None:
        nodes = tuple(gpu_node(f"n-{p}", p, count) if p else cpu_node(memory="64Gi") for p in order)
        known = tuple(sorted(nodes, key=lambda node: node.name))
        first = plan_model(spec(), facts(model), nodes=nodes, history=(), config=CONFIG)
        tally.saw(isinstance(first, ModelPlan))
        assert first == plan_model(spec(), facts(model), nodes=known, history=(), config=CONFIG)

    holds()
    tally.at_least(MOST)


def test_a_free_plan_is_the_longest():
    """What the planner chose fits when asked for, in the same engine; a longer context does not."""
    tally = Tally()

    @ENOUGH
    @given(asks(free=True))
    def holds(ask: Ask) -> None:
        free = ask.plan()
        if not tally.saw(isinstance(free, ModelPlan)):
            return
        chosen = {"engine": free.engine, "method": free.quantization_method, "concurrency": free.concurrency}
        again = ask.plan(length=free.max_model_len, **chosen)
        assert isinstance(again, ModelPlan)
        assert again.predicted == free.predicted
        if ask.gpus == 1:  # several may be split another way for a longer context
            assert not ask.fits(length=free.max_model_len + 256, **chosen)

    holds()
    tally.at_least(MOST)


def test_on_the_host_too_a_plan_is_the_longest_and_stays_within_the_memory():
    tally = Tally()

    @ENOUGH
    @given(st.sampled_from(("qwen2.5-0.5b", "phi-2", "llama-3.1-8b", "octocoder")), st.integers(4, 128))
    def holds(model: str, memory_gib: int) -> None:
        nodes = (cpu_node(memory=f"{memory_gib}Gi"),)

        def on_host(**context: int) -> ModelPlan | PlanFailure:
            asked = spec(gpu={"count": 0}, context=context)
            return plan_model(asked, facts(model), nodes=nodes, history=(), config=CONFIG)

        free = on_host()
        if not tally.saw(isinstance(free, ModelPlan)):
            assert free.failure.details["availableBytes"] == str(memory_gib << 30)
            return
        assert (free.gpu_product, free.gpu_count, free.gpu_memory_bytes) == ("CPU", 0, memory_gib << 30)
        assert free.predicted.total_bytes < free.gpu_memory_bytes
        again = on_host(maxModelLen=free.max_model_len, concurrency=free.concurrency)
        assert isinstance(again, ModelPlan)
        assert again.engine == free.engine

    holds()
    tally.at_least(MOST)


engines = st.sampled_from(("", "vllm", "transformers", "ctranslate2"))
counts = st.one_of(st.integers(0, 8), st.integers(0, 10**15))
kinds = st.sampled_from(("full", "sliding", "chunked", "mla", "mamba", "linear_attention", "none"))
groups = st.builds(
    LayerGroup, kind=kinds, layers=counts, key_value_heads=counts, key_head_dim=counts, value_head_dim=counts,
    window_tokens=counts, state_bytes=counts,
)  # fmt: skip
architectures = st.builds(
    Architecture, name=st.just("strange"), hidden_size=counts, layers=counts, attention_heads=counts,
    key_value_heads=counts, head_dim=counts, rotary_dim=counts, intermediate_size=counts, vocabulary=counts,
    max_positions=counts, experts=counts, experts_per_token=counts, moe_intermediate_size=counts,
    kv_lora_rank=counts, qk_rope_head_dim=counts, tied_embeddings=st.booleans(),
    layer_groups=st.lists(groups, max_size=3).map(tuple),
)  # fmt: skip


@examples(3)
@given(
    architectures,
    engines,
    st.sampled_from((0, 1, 8)),
    st.integers(0, 10**18),
    st.sampled_from(("gguf", "safetensors")),
)
def test_a_config_of_nonsense_gives_an_answer(architecture, engine, gpus, size, form):
    """Whatever numbers a hostile config.json carries: a plan or a reason, at once, and nothing negative."""
    base = facts("llama-3.1-8b")
    tensors = tuple(dataclasses.replace(t, parameters=size // 2, stored_bytes=size) for t in base.tensors)
    files = dataclasses.replace(base.files, total_bytes=size)
    strange = dataclasses.replace(base, architecture=architecture, tensors=tensors, format=form, files=files)
    asks = fields(engine, "", "NVIDIA-L4", gpus, None, None)
    if gpus == 0:
        asks["gpu"] = {"count": 0}
    found = plan_model(spec(**asks), strange, nodes=(cpu_node(),), history=(), config=CONFIG)
    if isinstance(found, ModelPlan):
        assert all(value >= 0 for value in dataclasses.astuple(found.predicted) if value is not None)
    else:
        assert found.failure.failure_class
