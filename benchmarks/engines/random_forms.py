"""How quantized checkpoints store their linear layers, filled with noise.

What vLLM reads of each: `compressed-tensors` packs along a row (w4a16) or keeps integers of 8 bits with
inputs quantized token by token (w8a8); AWQ packs along the outputs, with zero points; GPTQ along the inputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GROUP = 128
SCALE = 0.002
WORD = 8
"""Integers of 4 bits in one of 32."""


def _compressed(form: str, weights: dict[str, Any], inputs: dict[str, Any] | None) -> dict[str, Any]:
    common = {"symmetric": True, "type": "int"}
    group = {
        "targets": ["Linear"],
        "weights": {**common, "dynamic": False, **weights},
        "input_activations": inputs and {**common, **inputs},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "w4a16": _compressed(
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": GROUP, "actorder": None},
        None,
    ),
    "w8a8": _compressed(
        "int-quantized",
        {"num_bits": 8, "strategy": "channel"},
        {"num_bits": 8, "strategy": "token", "dynamic": True},
    ),
    "awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": GROUP,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": None,
    },
    "gptq": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "desc_act": False,
        "sym": True,
        "lm_head": False,
    },
}
FORMS = tuple(CONFIGS)


def packed(form: str, name: str, rows: int, columns: int) -> dict[str, Any]:
    """The tensors that stand for the weight [rows, columns] (outputs, inputs) of the layer ``name``."""
    import torch

    def packed_ints(*shape: int) -> Any:
        return torch.randint(-(2**31), 2**31 - 1, shape, dtype=torch.int64).to(torch.int32)

    def scales(*shape: int, kind: Any = torch.float16) -> Any:
        return torch.full(shape, SCALE, dtype=kind)

    if form == "w4a16":
        return {
            f"{name}.weight_packed": packed_ints(rows, columns // WORD),
            f"{name}.weight_scale": scales(rows, columns // GROUP, kind=torch.bfloat16),
            f"{name}.weight_shape": torch.tensor([rows, columns]),
        }
    if form == "w8a8":
        return {
            f"{name}.weight": torch.randint(-127, 128, (rows, columns), dtype=torch.int8),
            f"{name}.weight_scale": scales(rows, 1, kind=torch.bfloat16),
        }
    if form == "awq":
        return {
            f"{name}.qweight": packed_ints(columns, rows // WORD),
            f"{name}.qzeros": packed_ints(columns // GROUP, rows // WORD),
            f"{name}.scales": scales(columns // GROUP, rows),
        }
    return {
        f"{name}.qweight": packed_ints(columns // WORD, rows),
        f"{name}.qzeros": packed_ints(columns // GROUP, rows // WORD),
        f"{name}.scales": scales(columns // GROUP, rows),
        f"{name}.g_idx": torch.arange(columns, dtype=torch.int32) // GROUP,
    }


def save(model: Any, folder: Path, form: str) -> None:
    """The model with its linear layers packed, as one file and its configuration."""
    from safetensors.torch import save_file

    told: dict[str, Any] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("_proj.weight"):
            made = packed(form, name.removesuffix(".weight"), *tensor.shape)
        else:
            made = {name: tensor}
        told |= {key: value.cpu().contiguous() for key, value in made.items()}
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save_file(told, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": CONFIGS[form]}, indent=1))
