"""A GGUF file of random weights in a real model's shape: speed and memory are its own, the text is noise.

    python -m benchmarks.llamacpp.random_gguf SHAPE Q4_0|Q8_0 TOKENIZER.gguf OUT.gguf

The tokenizer is that of another GGUF file, whose tensors are not looked at; the vocabulary is as large as its
own. Runs under an interpreter that has numpy and gguf.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

SHAPES = {
    # hidden, layers, heads, heads of K and V, width of a head, width of the MLP, longest context
    "llama-3.1-8b": (4096, 32, 32, 8, 128, 14336, 131072),
    "smollm2-135m": (576, 30, 9, 3, 64, 1536, 8192),
}
TIED = ("smollm2-135m",)
"""Compute with the input embedding where others have an output head."""
SCALE = 0.002
"""Of each block, so that no sum overflows."""


def main() -> int:
    if len(sys.argv) != 5 or sys.argv[1] not in SHAPES:
        print(__doc__, file=sys.stderr)
        return 2
    gguf: Any = import_module("gguf")
    shape, kind, donor, out = sys.argv[1:]
    writer: Any = gguf.GGUFWriter(out, "llama")
    vocabulary = _copy_tokenizer(gguf.GGUFReader(donor), writer, gguf.GGUFValueType.ARRAY)
    hidden, layers, heads, shared, width, wide, longest = SHAPES[shape]
    writer.add_context_length(longest)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(vocabulary)
    tensors = Tensors(writer, gguf.GGMLQuantizationType[kind], gguf.GGML_QUANT_SIZES)
    tensors.add("token_embd.weight", vocabulary, hidden)
    if shape not in TIED:
        tensors.add("output.weight", vocabulary, hidden)
    tensors.norm("output_norm.weight", hidden)
    for layer in range(layers):
        block = f"blk.{layer}"
        tensors.norm(f"{block}.attn_norm.weight", hidden)
        tensors.norm(f"{block}.ffn_norm.weight", hidden)
        for name, rows in (("q", heads), ("k", shared), ("v", shared)):
            tensors.add(f"{block}.attn_{name}.weight", rows * width, hidden)
        tensors.add(f"{block}.attn_output.weight", hidden, heads * width)
        tensors.add(f"{block}.ffn_gate.weight", wide, hidden)
        tensors.add(f"{block}.ffn_up.weight", wide, hidden)
        tensors.add(f"{block}.ffn_down.weight", hidden, wide)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{out}: {Path(out).stat().st_size / 2**30:.2f} GiB")
    return 0


def _copy_tokenizer(source: Any, writer: Any, array: Any) -> int:
    """Returns the number of its tokens."""
    for name, field in source.fields.items():
        if name.startswith("tokenizer."):
            if field.types[0] == array:
                writer.add_array(name, field.contents())
            else:
                writer.add_key_value(name, field.contents(), field.types[0])
    return len(source.fields["tokenizer.ggml.tokens"].data)


class Tensors:
    """Random blocks of a type that begins with its scale in 16 bits."""

    def __init__(self, writer: Any, kind: Any, sizes: Any) -> None:
        numpy: Any = import_module("numpy")
        self._writer, self._kind = writer, kind
        self._elements, self._bytes = sizes[kind]
        self._numpy = numpy
        self._random: Any = numpy.random.default_rng(0)
        self._scale: Any = numpy.frombuffer(numpy.float16(SCALE).tobytes(), numpy.uint8)

    def add(self, name: str, rows: int, columns: int) -> None:
        blocks = columns // self._elements
        data = self._numpy.frombuffer(
            self._random.bytes(rows * blocks * self._bytes), self._numpy.uint8
        ).copy()
        data = data.reshape(rows, blocks, self._bytes)
        data[:, :, : len(self._scale)] = self._scale
        self._writer.add_tensor(name, data.reshape(rows, blocks * self._bytes), raw_dtype=self._kind)

    def norm(self, name: str, columns: int) -> None:
        self._writer.add_tensor(name, self._numpy.ones(columns, self._numpy.float32))


if __name__ == "__main__":
    sys.exit(main())
