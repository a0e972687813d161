"""Mistral's own layout: params.json and consolidated weights, without a config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tacho_contract.uri import FileUri
from tacho_engines.memory import kv
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import write_safetensors
from tools.mock.specs import CONFIG, spec

PARAMS: dict[str, Any] = {
    "dim": 4096, "n_layers": 4, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
    "norm_eps": 1e-5, "vocab_size": 131072, "rope_theta": 1e6, "max_position_embeddings": 32768,
}  # fmt: skip
LAYER = {
    "attention.wq": (4096, 4096), "attention.wk": (1024, 4096), "attention.wv": (1024, 4096),
    "attention.wo": (4096, 4096), "feed_forward.w1": (14336, 4096), "feed_forward.w2": (4096, 14336),
    "feed_forward.w3": (14336, 4096), "attention_norm": (4096,), "ffn_norm": (4096,),
}  # fmt: skip
LINEAR, EMBEDDINGS = 4 * 2 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096), 2 * 131072 * 4096 * 2
NORMS = 2 * 4096 * (2 * 4 + 1)


def native(folder: Path, *, bits: int = 16, files: int = 1, **params: Any) -> InspectConfig:
    """A checkpoint of PARAMS, in several parts and with quantized layers if asked for."""
    tensors: list[tuple[str, str, tuple[int, ...]]] = [
        ("tok_embeddings.weight", "BF16", (131072, 4096)), ("norm.weight", "BF16", (4096,)),
        ("output.weight", "BF16", (131072, 4096)),
    ]  # fmt: skip
    for layer in range(4):
        for name, shape in LAYER.items():
            small = bits == 8 and len(shape) == 2
            weight = f"layers.{layer}.{name}"
            tensors.append((f"{weight}.weight", "F8_E4M3" if small else "BF16", shape))
            if small:
                tensors += [(f"{weight}.qscale_{of}", "F32", ()) for of in ("weight", "act")]
    sizes = {"BF16": 2, "F8_E4M3": 1, "F32": 4}
    rows = [(n, d, s, sizes[d] * (s[0] * (s[1] if len(s) > 1 else 1) if s else 1)) for n, d, s in tensors]
    for part in range(files):
        name = f"consolidated-{part + 1:05}-of-{files:05}" if files > 1 else "consolidated"
        write_safetensors(folder / f"{name}.safetensors", rows[part::files])
    (folder / "params.json").write_text(json.dumps({**PARAMS, **params}))
    (folder / "tekken.json").write_text("{}")
    return InspectConfig(uri=FileUri(str(folder)))


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("engine", ["", "vllm"])
def test_a_dense_model_is_planned_for_vllm_with_its_switches(tmp_path: Path, files: int, engine: str) -> None:
    config = native(tmp_path, files=files)
    found = facts_of(InspectConfig(uri=config.uri, engine=engine))
    shape = found.architecture
    assert shape is not None
    assert (found.format, found.tokenizer, found.chat_template) == ("mistral-native", True, True)
    assert (shape.name, shape.max_positions, shape.dtype, shape.tied_embeddings) == (
        "MistralForCausalLM", 32768, "bfloat16", False,
    )  # fmt: skip
    assert (found.unknown, found.files.file_count) == ((), files + 2)
    assert {t.kind: t.stored_bytes for t in found.tensors} == {
        "linear": LINEAR, "embedding": EMBEDDINGS // 2, "lm_head": EMBEDDINGS // 2, "norm": NORMS,
    }  # fmt: skip
    (group,) = kv.layer_groups(shape)
    assert kv.group_bytes_per_token(shape, group, 2.0, 1) == 4 * 2 * 8 * 128 * 2
    asks = spec(gpu={"products": ["H100"], "count": 1}, context={"maxModelLen": 16384, "concurrency": 8})
    plan = plan_model(asks, found, nodes=None, history=(), config=CONFIG)
    assert isinstance(plan, ModelPlan)
    words = " ".join(plan.arguments)
    assert plan.engine == "vllm"
    assert "--tokenizer-mode mistral --config-format mistral --load-format mistral" in words
    assert plan.predicted.weights_bytes == pytest.approx(LINEAR + EMBEDDINGS + NORMS, rel=0.02)


def test_the_users_switches_are_not_repeated(tmp_path: Path) -> None:
    found = facts_of(native(tmp_path))
    arguments = ["--config-format=mistral", "--load_format=mistral", "--tokenizer-mode", "mistral"]
    asks = spec(gpu={"products": ["H100"], "count": 1}, engine={"name": "vllm", "extraArgs": arguments})
    plan = plan_model(asks, found, nodes=None, history=(), config=CONFIG)
    assert isinstance(plan, ModelPlan)
    assert "mistral" not in plan.arguments


@pytest.mark.parametrize(
    ("window", "kinds"),
    [(4096, {"sliding": 4}), ([None, 4096, 4096, 4096], {"full": 1, "sliding": 3}), (None, {"full": 4})],
)
def test_windows_of_all_layers_or_by_a_pattern(tmp_path: Path, window: object, kinds: dict[str, int]) -> None:
    shape = facts_of(native(tmp_path, sliding_window=window)).architecture
    assert shape is not None
    assert {g.kind: g.layers for g in shape.layer_groups} == kinds
    assert {g.window_tokens for g in shape.layer_groups if g.kind == "sliding"} <= {4096}


@pytest.mark.parametrize(
    ("given", "bits", "method", "scheme"),
    [
        ({"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}, 8, "fp8", "tensor-static"),
        ({"qformat_weight": "fp8_e4m3", "qscheme_act": "NO_SCALES"}, 8, "fp8", "tensor-dynamic"),
        (
            {"quant_method": "compressed_tensors", "config_groups": {"a": {"weights": {"num_bits": 8}}}},
            8, "compressed-tensors", "W8A16",
        ),
    ],
)  # fmt: skip
def test_quantized_weights(
    tmp_path: Path, given: dict[str, Any], bits: int, method: str, scheme: str
) -> None:
    found = facts_of(native(tmp_path, bits=bits, quantization=given))
    assert (found.quantization.method, found.quantization.scheme) == (method, scheme)
    assert {t.kind: t.stored_bytes for t in found.tensors if t.dtype == "F8_E4M3"} == {"linear": LINEAR // 2}
    assert sum(t.stored_bytes for t in found.tensors if t.kind == "scale") == 4 * 7 * 2 * 4


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}}, "experts"),
        ({"vision_encoder": {"image_size": 1024}}, "images"),
        ({"multimodal": {"whisper_model_args": {}}}, "images or sound"),
        ({"qk_nope_head_dim": 128}, "latent attention"),
        ({"model_type": "mamba"}, "recurrent layers"),
        ({"quantization": {"qformat_weight": "int4"}}, "int4"),
    ],
)
def test_what_is_not_planned_says_how_to_serve_it(tmp_path: Path, params: dict[str, Any], what: str) -> None:
    failure = failure_of(native(tmp_path, **params))
    assert failure.failure_class == FailureClass.ENGINE_NOT_SUPPORTED
    assert what in failure.message
    assert "engine.name to custom" in failure.next_step
    assert "--config-format=mistral --load-format=mistral --tokenizer-mode=mistral" in failure.next_step


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_other_engines_do_not_load_it(tmp_path: Path, engine: str) -> None:
    failure = failure_of(InspectConfig(uri=native(tmp_path).uri, engine=engine))
    assert failure.failure_class == FailureClass.ENGINE_NOT_SUPPORTED
    assert "Set engine.name to vllm" in failure.next_step


def test_the_usual_layout_beside_it_is_preferred(tmp_path: Path) -> None:
    config = native(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MistralForCausalLM"]}))
    assert facts_of(config).format == "safetensors"


def test_files_that_the_user_names(tmp_path: Path) -> None:
    config = native(tmp_path)
    named = InspectConfig(uri=config.uri, files=("consolidated*.safetensors", "params.json", "tekken.json"))
    assert facts_of(named).format == "mistral-native"
