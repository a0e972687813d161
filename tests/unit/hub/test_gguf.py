# ruff: noqa: E501 - tables, a row each
from __future__ import annotations

import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from hypothesis import given, strategies as st

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.model import InspectConfig, LayerGroup
from tacho_contract.uri import FileUri
from tacho_runtime.headers import gguf
from tacho_runtime.headers.gguf_facts import gguf_architecture, gguf_quantization
from tacho_runtime.headers.quantization import GGUF_FILE_TYPES
from tacho_runtime.headers.tensors import StoredTensor
from tacho_runtime.hub.inspect import inspect
from tests.properties import examples
from tools.engines import gguf_model
from tools.mock import ggufs


def parse(data: bytes, size: int | None = None) -> gguf.GGUFHeader:
    return gguf.read_header(lambda start, n: data[start : start + n], size or len(data))


def length(header: gguf.GGUFHeader, data: bytes, at_least: int = 24) -> int:
    """Bytes up to the end of the tensor list."""
    return next(n for n in range(at_least, len(data)) if sha256(data[:n]).hexdigest() == header.mark)


def test_real_model_adds_up_to_its_file_size() -> None:
    path = gguf_model()
    reads: list[int] = []

    def read(start: int, length: int) -> bytes:
        reads.append(length)
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    header = gguf.read_header(read, path.stat().st_size)
    data = path.read_bytes()
    start = len(data) - sum(tensor.stored_bytes for tensor in header.tensors)
    assert start - length(header, data, start - 31) < 32
    assert sum(tensor.elements for tensor in header.tensors) == 134_515_008
    assert reads == [1 << 20, 1 << 20]


def test_real_model_facts() -> None:
    facts = inspect(InspectConfig(uri=FileUri(f"{gguf_model()}"), engine="llamacpp")).facts
    assert facts is not None
    assert facts.architecture is not None
    assert facts.architecture.layers == 30
    assert facts.architecture.tied_embeddings
    assert facts.architecture.max_positions == 8192
    group = LayerGroup(kind="full", layers=30, key_value_heads=3, key_head_dim=64, value_head_dim=64)
    assert facts.architecture.layer_groups == (group,)
    assert (facts.quantization.method, facts.quantization.scheme) == ("gguf", "Q4_1")
    assert {c.kind: c.dtype for c in facts.tensors} == {"linear": "Q4_1", "embedding": "Q8_0", "norm": "F32"}
    assert facts.unknown == ()
    assert facts.files.model_file == gguf_model().name


@pytest.mark.parametrize("version", [2, 3])
def test_all_metadata_types_and_long_arrays(version: int) -> None:
    metadata = {
        "a": True,
        "b": 7,
        "c": -7,
        "d": 0.5,
        "e": "text",
        "f": [1, 2],
        "g": ["x", "y"],
        "long": [1] * 9000,
    }
    head, _ = ggufs.header(metadata, [], version=version)
    found = parse(head).metadata
    assert found == metadata | {"f": (1, 2), "g": ("x", "y"), "long": gguf.ArrayLength(9000)}


def test_all_scalar_types() -> None:
    values = {
        0: 200,
        1: -3,
        2: 60000,
        3: -300,
        4: 1,
        5: -1,
        6: 0.25,
        7: True,
        10: 1 << 60,
        11: -(1 << 60),
        12: 0.1,
    }
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    for kind, item in values.items():
        body += ggufs.text(f"k{kind}") + struct.pack("<I", kind) + struct.pack(gguf.SCALARS[kind], item)
    assert parse(body).metadata == {f"k{kind}": item for kind, item in values.items()}


def test_nested_arrays() -> None:
    inner = struct.pack("<IQ", 4, 2) + struct.pack("<II", 5, 6)
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + ggufs.text("n")
    body += struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) + inner
    assert parse(body).metadata == {"n": ((5, 6),)}


def test_tensors_that_overlap_are_refused() -> None:
    """Each within the file, all together many times its size."""
    head, size = ggufs.header({}, [("a", (1 << 20,), ggufs.F32)])
    body = b"GGUF" + struct.pack("<IQQ", 3, 50, 0)
    body += b"".join(ggufs.text(f"t{n}") + struct.pack("<IQIQ", 1, 1 << 20, ggufs.F32, 0) for n in range(50))
    with pytest.raises(FailedError, match="overlapping"):
        parse(body, len(body) + len(head) + size)


def test_per_layer_heads_and_windows() -> None:
    metadata = {
        "general.architecture": "gemma3",
        "gemma3.block_count": 12,
        "gemma3.embedding_length": 256,
        "gemma3.context_length": 8192,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": [2] * 11 + [1],
        "gemma3.attention.key_length": 64,
        "gemma3.attention.value_length": 32,
        "gemma3.attention.sliding_window": 1024,
        "gemma3.vocab_size": 100,
    }
    shape, unknown = gguf_architecture(parse(ggufs.header(metadata, [])[0]).metadata, [])
    assert {(g.kind, g.key_value_heads, g.layers, g.window_tokens) for g in shape.layer_groups} == {
        ("sliding", 2, 10, 1024),
        ("full", 2, 1, 0),
        ("full", 1, 1, 0),
    }
    assert all((g.key_head_dim, g.value_head_dim) == (64, 32) for g in shape.layer_groups)
    assert unknown == []


def test_latent_cache_and_experts() -> None:
    metadata = {
        "general.architecture": "deepseek2",
        "deepseek2.block_count": 61,
        "deepseek2.embedding_length": 7168,
        "deepseek2.context_length": 163840,
        "deepseek2.attention.head_count": 128,
        "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.kv_lora_rank": 512,
        "deepseek2.attention.key_length_mla": 192,
        "deepseek2.rope.dimension_count": 64,
        "deepseek2.expert_count": 256,
        "deepseek2.expert_used_count": 8,
        "deepseek2.expert_feed_forward_length": 2048,
    }
    shape, _ = gguf_architecture(metadata, [])
    assert shape.layer_groups == (LayerGroup(kind="mla", layers=61, key_value_heads=1, key_head_dim=576),)
    assert (shape.experts, shape.experts_per_token, shape.moe_intermediate_size) == (256, 8, 2048)


def test_recurrent_layers_have_no_key_value_heads() -> None:
    metadata = {
        "general.architecture": "jamba",
        "jamba.block_count": 4,
        "jamba.embedding_length": 64,
        "jamba.context_length": 1000,
        "jamba.attention.head_count": 4,
        "jamba.attention.head_count_kv": (0, 0, 2, 0),
        "jamba.ssm.inner_size": 128,
        "jamba.ssm.state_size": 16,
        "jamba.ssm.conv_kernel": 4,
    }
    groups = {g.kind: g for g in gguf_architecture(metadata, [])[0].layer_groups}
    assert groups["full"].layers == 1
    assert groups["mamba"].layers == 3
    assert groups["mamba"].state_bytes == 3 * (3 * 128 + 16 * 128) * 4


@pytest.mark.parametrize("said", [{}, {"full_attention_interval": 2}])
def test_layers_that_only_an_interval_tells_are_recurrent(said: dict[str, int]) -> None:
    own = {"block_count": 8, "embedding_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2}
    ssm = {"ssm.inner_size": 128, "ssm.state_size": 16, "ssm.group_count": 2, "ssm.conv_kernel": 4}
    metadata: dict[str, Any] = {f"qwen3next.{key}": value for key, value in {**own, **ssm, **said}.items()}
    metadata["general.architecture"] = "qwen3next"
    groups = {g.kind: g for g in gguf_architecture(metadata, [])[0].layer_groups}
    assert groups["full"].layers == (4 if said else 2)
    recurrent = groups["mamba"]
    assert recurrent.state_bytes == recurrent.layers * (3 * (128 + 2 * 2 * 16) + 128 * 16) * 4


def test_types_newer_than_the_table_are_sized_by_offsets() -> None:
    body = b"GGUF" + struct.pack("<IQQ", 3, 2, 0)
    for name, offset in (("a.weight", 0), ("b.weight", 4096)):
        body += ggufs.text(name) + struct.pack("<IQQIQ", 2, 64, 64, 250, offset)
    header = parse(body, len(body) + 10000)
    assert [(t.dtype, t.stored_bytes) for t in header.tensors] == [
        ("GGML_250", 4096),
        ("GGML_250", 10000 - -len(body) % 32 - 4096),
    ]


def test_bits_are_those_of_the_weights(tmp_path: Path) -> None:
    data = ggufs.llama(tmp_path / "m.gguf").read_bytes()
    header = parse(data)
    quantization = gguf_quantization(header.metadata, header.tensors)
    assert (quantization.scheme, quantization.lm_head_quantized) == ("Q4_K_M", True)
    assert quantization.bits in (5, 6)


# --- what strangers may send ---


def lying(field: str) -> bytes:
    good = bytearray(ggufs.header({"general.architecture": "llama"}, [("a", (32, 4), ggufs.Q8_0)])[0])
    big = struct.pack("<Q", 1 << 62)
    places = {"tensors": 8, "metadata": 16, "key": 24}
    good[places[field] : places[field] + 8] = big
    return bytes(good) + b"\0" * 4096


@pytest.mark.parametrize("field", ["tensors", "metadata", "key"])
def test_lying_counts(field: str) -> None:
    with pytest.raises(FailedError) as caught:
        parse(lying(field))
    assert caught.value.failure.failure_class == FailureClass.MODEL_INVALID


@pytest.mark.parametrize(
    ("element", "count"), [(8, 1 << 40), (4, 1 << 40), (9, 1 << 40), (8, 1 << 23), (99, 3)]
)
def test_lying_arrays(element: int, count: int) -> None:
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + ggufs.text("k") + struct.pack("<IIQ", 9, element, count)
    with pytest.raises(FailedError):
        parse(body + b"\0" * 4096)


def test_header_above_tachos_limit_is_not_read() -> None:
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + ggufs.text("k") + struct.pack("<IIQ", 9, 4, 1 << 30)
    read: list[int] = []

    def endless(start: int, length: int) -> bytes:
        read.append(length)
        return (body + b"\0" * length)[start : start + length] if start == 0 else b"\0" * length

    with pytest.raises(FailedError, match=r"the GGUF header has 4\.3 GB or more; tacho reads 134\.2 MB"):
        gguf.read_header(endless, 1 << 40)
    assert sum(read) <= gguf.HEADER_LIMIT_BYTES


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 40), (1 << 62,)])
def test_huge_tensors(shape: tuple[int, ...]) -> None:
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + ggufs.text("t") + struct.pack("<I", len(shape))
    body += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, 0)
    with pytest.raises(FailedError):
        parse(body + b"\0" * 64)


@pytest.mark.parametrize("alignment", [0, 1 << 30, "x"])
def test_alignment(alignment: object) -> None:
    with pytest.raises(FailedError, match="alignment"):
        parse(ggufs.header({"general.alignment": alignment}, [])[0])


@pytest.mark.parametrize(
    "data",
    [b"", b"GGUF", b"GGML" + b"\0" * 40, b"GGUF" + struct.pack(">I", 3) + b"\0" * 40, b"PK\3\4" + b"\0" * 40],
)
def test_not_a_gguf(data: bytes) -> None:
    with pytest.raises(FailedError):
        parse(data)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    data = ggufs.llama(tmp_path / "m.gguf", tokens=40).read_bytes()
    header = parse(data)
    end = length(header, data)
    for size in [*range(0, end, 97), end, len(data) - 33]:
        with pytest.raises(FailedError):
            parse(data[:size])


@examples(3)
@given(st.data())
def test_damaged_headers_are_refused_or_read(data: st.DataObject) -> None:
    good = bytearray(
        ggufs.header({"general.architecture": "llama", "a": [1, 2], "b": ["x"]}, [("t", (32,), 8)])[0]
    )
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    failure = None
    try:
        header = parse(bytes(good[:cut]) if data.draw(st.booleans()) else bytes(good), len(good) + 34)
        gguf_architecture(header.metadata, header.tensors)
        gguf_quantization(header.metadata, header.tensors)
    except FailedError as refusal:
        failure = refusal.failure
    assert failure is None or (failure.failure_class == FailureClass.MODEL_INVALID and failure.next_step)


VALUES = st.one_of(
    st.integers(-(1 << 63), 1 << 63), st.floats(), st.text(max_size=5), st.booleans(),
    st.lists(st.integers(-5, 1 << 62), max_size=5).map(tuple), st.builds(gguf.ArrayLength, st.integers(0, 1 << 40)),
)  # fmt: skip
KEYS = (
    "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.sliding_window", "attention.sliding_window_pattern", "attention.kv_lora_rank", "vocab_size",
    "context_length", "rope.dimension_count", "expert_count", "ssm.inner_size", "ssm.conv_kernel",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([f"x.{key}" for key in KEYS]), VALUES), VALUES)
def test_any_metadata_gives_numbers(metadata: dict[str, object], file_type: object) -> None:
    full = {"general.architecture": "x", "general.file_type": file_type, **metadata}
    shape, _ = gguf_architecture(full, [])
    assert shape.layers >= 0
    assert all(g.layers > 0 and g.state_bytes >= 0 for g in shape.layer_groups if shape.layers)
    gguf_quantization(full, [])


@pytest.mark.parametrize("metadata", [{}, {"general.file_type": -1}, {"general.file_type": 999}], ids=str)
def test_a_file_type_that_is_not_known_is_that_of_the_weights(metadata: dict[str, object]) -> None:
    """0 would be F32."""
    row = StoredTensor("blk.0.ffn_up.weight", "Q4_K", (256, 256), 36_864)
    assert gguf_quantization(metadata, [row]).scheme == "Q4_K"


def test_a_header_with_a_whole_tokenizer_json_and_a_million_tokens_is_read() -> None:
    """The format's tokenizer.huggingface.json was "damaged", as was a vocabulary of that size with merges."""
    tokens = struct.pack("<IIQ", gguf.ARRAY, gguf.STRING, 1_000_000) + ggufs.text("abc") * 1_000_000
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, 4)
    body += b"".join(
        ggufs.text(key) + tokens for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "x")
    )
    body += (
        ggufs.text("tokenizer.huggingface.json")
        + struct.pack("<I", gguf.STRING)
        + ggufs.text("{" * 33_000_000)
    )
    metadata = parse(body).metadata
    assert metadata["tokenizer.ggml.merges"] == gguf.ArrayLength(1_000_000)
    assert len(metadata["tokenizer.huggingface.json"]) == gguf.KEPT_STRING_BYTES


def test_the_table_of_types_is_llama_cpps_own() -> None:
    """Every type of the ``gguf`` package, with its elements and bytes a block."""
    theirs = {kind.value: (kind.name, *size) for kind, size in GGML_QUANT_SIZES.items()}
    assert set(theirs) == {kind.value for kind in GGMLQuantizationType}
    assert theirs == gguf.GGML_TYPES


def test_file_types_are_llama_cpps_own() -> None:
    """ALL_F32 and GUESSED apart, a name without its MOSTLY."""
    theirs = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    del theirs[LlamaFileType.GUESSED.value]
    assert theirs == GGUF_FILE_TYPES
