"""What the Transformers server logs: of its start, and, in torch's and bitsandbytes' own lines too, of why it
ended."""

from __future__ import annotations

import re

from tacho_contract.failure import FailureClass
from tacho_engines.shared.log_patterns import FailurePattern, StartupPatterns

PROGRAM = "transformers-server"

STARTUP = StartupPatterns(
    last_values=(
        re.compile(
            rf"{PROGRAM}: weights (?P<weights_bytes>\d+) bytes, loaded in (?P<load_seconds>\d+\.\d+) s"
        ),
        re.compile(rf"{PROGRAM}: kv cache (?P<kv_cache_bytes>\d+) bytes, (?P<kv_cache_tokens>\d+) tokens"),
    ),
    fallbacks=(
        (re.compile(rf"{PROGRAM}: chat: no \((.*)\)"), r"no chat: \1"),
        (re.compile(rf"{PROGRAM}: falls back: (.*)"), r"\1"),
    ),
)
FAILURES = (
    FailurePattern(
        pattern=re.compile(
            r"DefaultCPUAllocator: can't allocate memory|^MemoryError\b|Memory footprint \d+ is more"
        ),
        failure_class=FailureClass.HOST_OUT_OF_MEMORY,
        message="the container's memory did not suffice for weights and context",
        next_step="raise the memory in spec.engine.resources, or lower spec.context",
    ),
    FailurePattern(
        pattern=re.compile(r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory"),
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="the GPU's memory did not suffice for weights and context",
        next_step="lower spec.context.maxModelLen or spec.context.concurrency, quantize further, or take a "
        "larger GPU",
    ),
    FailurePattern(
        pattern=re.compile(
            r"model type [`'\"](?P<architecture>[^`'\"]+)[`'\"] but Transformers does not recognize this arch"
        ),
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="this version of Transformers does not know the model architecture {architecture}",
        next_step="take a newer engine image (spec.engine.image), or another engine",
    ),
    FailurePattern(
        pattern=re.compile(
            r"(?P<why>SafetensorError.*|Error while deserializing header.*"
            r"|MetadataIncompleteBuffer.*|InvalidHeaderDeserialization.*)"
        ),
        failure_class=FailureClass.MODEL_INVALID,
        message="a file of the model is not whole: {why}",
        next_step="fetch or copy the file again and compare its size with the source's",
    ),
    FailurePattern(
        pattern=re.compile(r"Invalid layer type: (?P<kind>\S+)"),
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="continuous batching has no cache for layers of kind {kind}",
        next_step="choose another engine for this model",
    ),
    FailurePattern(
        pattern=re.compile(r"transformers-server: error: (?P<why>.*)"),
        failure_class=FailureClass.INVALID_CONFIG,
        message="the launcher refuses its arguments: {why}",
        next_step="correct spec.engine.extraArgs",
    ),
)
