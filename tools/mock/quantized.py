"""How common tools store a Llama-shaped model's linear layers quantized. The head and embeddings stay as
they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tools.mock.shapes import Row

GROUP = 128


def _linear(row: Row) -> bool:
    name, _, shape = row
    return len(shape) == 2 and "_proj." in name and name.endswith(".weight")


def _each(rows: Iterable[Row], store: Callable[[str, int, int], Iterator[Row]]) -> Iterator[Row]:
    for row in rows:
        if _linear(row):
            out, inside = row[2]
            yield from store(row[0].removesuffix(".weight"), out, inside)
        else:
            yield row


def awq(rows: Iterable[Row]) -> Iterator[Row]:
    """AutoAWQ: int4 packed along the outputs, fp16 scales, packed zeros."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.qweight", "I32", (inside, out // 8)
        yield f"{name}.qzeros", "I32", (inside // GROUP, out // 8)
        yield f"{name}.scales", "F16", (inside // GROUP, out)

    return _each(_as(rows, "F16"), store)


def gptq(rows: Iterable[Row]) -> Iterator[Row]:
    """AutoGPTQ: int4 packed along the inputs, with g_idx."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.qweight", "I32", (inside // 8, out)
        yield f"{name}.qzeros", "I32", (inside // GROUP, out // 8)
        yield f"{name}.scales", "F16", (inside // GROUP, out)
        yield f"{name}.g_idx", "I32", (inside,)

    return _each(_as(rows, "F16"), store)


def w4a16(rows: Iterable[Row]) -> Iterator[Row]:
    """compressed-tensors pack-quantized, symmetric."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.weight_packed", "I32", (out, inside // 8)
        yield f"{name}.weight_scale", "BF16", (out, inside // GROUP)
        yield f"{name}.weight_shape", "I64", (2,)

    return _each(rows, store)


def w8a8(rows: Iterable[Row]) -> Iterator[Row]:
    """compressed-tensors int-quantized, a scale per output channel."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.weight", "I8", (out, inside)
        yield f"{name}.weight_scale", "BF16", (out, 1)

    return _each(rows, store)


def fp8(rows: Iterable[Row]) -> Iterator[Row]:
    """compressed-tensors float-quantized, a scale per tensor."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.weight", "F8_E4M3", (out, inside)
        yield f"{name}.weight_scale", "BF16", (1,)
        yield f"{name}.input_scale", "BF16", (1,)

    return _each(rows, store)


def bnb_nf4(rows: Iterable[Row]) -> Iterator[Row]:
    """bitsandbytes NF4 with double quantization, as transformers saves it."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        blocks = out * inside // 64
        yield f"{name}.weight", "U8", (out * inside // 2, 1)
        yield f"{name}.weight.absmax", "U8", (blocks,)
        yield f"{name}.weight.nested_absmax", "F32", (-(-blocks // 256),)
        yield f"{name}.weight.nested_quant_map", "F32", (256,)
        yield f"{name}.weight.quant_map", "F32", (16,)
        yield f"{name}.weight.quant_state.bitsandbytes__nf4", "U8", (130,)

    return _each(rows, store)


def bnb_int8(rows: Iterable[Row]) -> Iterator[Row]:
    """bitsandbytes LLM.int8(), as transformers saves it."""

    def store(name: str, out: int, inside: int) -> Iterator[Row]:
        yield f"{name}.weight", "I8", (out, inside)
        yield f"{name}.SCB", "F32", (out,)
        yield f"{name}.weight_format", "U8", ()

    return _each(rows, store)


def _as(rows: Iterable[Row], dtype: str) -> Iterator[Row]:
    return ((name, dtype, shape) for name, _, shape in rows)


def _compressed(
    kind: str, bits: int, strategy: str, group: int | None, activation_bits: int
) -> dict[str, Any]:
    inputs = {"num_bits": activation_bits, "type": kind, "dynamic": True} if activation_bits else None
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group, "symmetric": True}
    group_0 = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group_0},
        "ignore": ["lm_head"],
    }


QUANTIZERS: dict[str, tuple[dict[str, Any], Callable[[Iterable[Row]], Iterator[Row]]]] = {
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, awq),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}, gptq),
    "w4a16": (_compressed("int", 4, "group", 128, 0), w4a16),
    "w8a8": (_compressed("int", 8, "channel", None, 8), w8a8),
    "fp8": (_compressed("float", 8, "tensor", None, 8), fp8),
    "bnb-nf4": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
         "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16"}, bnb_nf4,
    ),
    "bnb-int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, bnb_int8),
}  # fmt: skip
