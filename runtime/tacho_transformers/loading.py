"""Loads a checkpoint with transformers, quantized by bitsandbytes where requested, and reports its size."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tacho_server.errors import LoadError


def installed(package: str) -> str:
    """Version of an installed package; "" where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def quantization_config(options: argparse.Namespace, torch: Any, transformers: Any) -> Any:
    """The bitsandbytes settings for loading; None: the model is loaded as stored. Raises LoadError."""
    if options.quantization == "none":
        return None
    if not installed("bitsandbytes"):
        message = "bitsandbytes is not installed beside transformers"
        step = "take an engine image with bitsandbytes, or another method"
        raise LoadError("UnsupportedQuantization", message, step)
    if options.quantization == "bnb-int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=options.quantization.removeprefix("bnb-"),
        bnb_4bit_use_double_quant=options.double_quant,
        bnb_4bit_compute_dtype=getattr(torch, options.compute_dtype),
    )


def load_model(options: argparse.Namespace, torch: Any, transformers: Any) -> Any:
    """The model on its device. Raises LoadError for a known cause, and the library's own exceptions
    otherwise."""
    if options.device == "cuda" and not torch.cuda.is_available():
        step = "check the node's driver and the pod's GPU, or set spec.gpu.count: 0"
        raise LoadError("UnsupportedGPU", "torch finds no CUDA device", step)
    device_map: Any = "cpu" if options.device == "cpu" else "auto"
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            options.model,
            dtype=options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
            quantization_config=quantization_config(options, torch, transformers),
            device_map=device_map,
            trust_remote_code=options.trust_remote_code,
            local_files_only=True,
            use_safetensors=True,
        )
    except (ValueError, OSError, RuntimeError) as error:
        if (known := _known(error)) is not None:
            raise known from error
        raise


def _known(error: Exception) -> LoadError | None:
    """The LoadError for an error of transformers with a known cause; None: unknown cause."""
    message = " ".join(str(error).split())[:400]
    if "does not recognize this architecture" in message or "Unrecognized configuration class" in message:
        return LoadError("EngineNotSupported", message, "take a newer engine image, or another engine")
    if "no file named model.safetensors" in message:
        step = "point spec.model at weights in safetensors; pickled weights could run code"
        return LoadError("ModelInvalid", message, step)
    if "trust_remote_code" in message:
        step = "set spec.model.trustRemoteCode if you trust the repository, or another engine"
        return LoadError("EngineNotSupported", message, step)
    if "SafetensorError" in type(error).__name__ or "safetensors" in message.lower() or "JSON" in message:
        return LoadError("ModelInvalid", message, "fetch or copy the file again and compare its size")
    return None


def give_back_freed() -> None:
    """Returns freed memory to the system after quantization; glibc would keep it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def weights_bytes(model: Any) -> int:
    """Bytes of the weights in memory, with bitsandbytes' constants, which ``get_memory_footprint`` leaves
    out."""
    return int(model.get_memory_footprint()) + sum(_constants(weight) for weight in model.parameters())


def experts_left(model: Any) -> int:
    """Bytes of expert weights that bitsandbytes leaves unquantized.

    A layer's experts are one tensor of three dimensions, and bitsandbytes replaces linear layers only.
    """
    weights = (weight for name, weight in model.named_parameters() if ".experts." in name)
    return sum(weight.numel() * weight.element_size() for weight in weights if weight.dim() == 3)


def _constants(weight: Any) -> int:
    """Bytes of bitsandbytes' constants for one weight. 4 bits: a constant per block, and its own
    quantization; 8 bits: a scale per row.
    """
    state = getattr(weight, "quant_state", None)
    nested = getattr(state, "state2", None)
    parts = (getattr(state, "absmax", None), getattr(nested, "absmax", None), getattr(weight, "SCB", None))
    return sum(part.numel() * part.element_size() for part in parts if part is not None)
