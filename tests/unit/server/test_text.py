"""Stop strings and text of tokens, however the pieces fall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from tacho_server.errors import LoadError
from tacho_server.text import (
    CONTEXT_TOKENS,
    HELD_TOKENS,
    PIECE_CHARACTERS,
    Detokenizer,
    HuggingFaceTokenizer,
    Stops,
)
from tests.unit.server.scripted import END, Letters

TEXT = st.text("ab", max_size=30)


@given(st.lists(st.text("ab", max_size=4)), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_string_wherever_it_is_cut(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    found = Stops(stops)
    given_on, met = "", False
    for piece in pieces:
        text, met = found.add(piece)
        given_on += text
        if met:
            break
    if not met:
        given_on += found.rest()
    # The first to be complete ends it; of those complete at once, the one that begins first.
    ends = [end for end in range(len(whole) + 1) if any(whole[:end].endswith(stop) for stop in stops)]
    assert met is bool(ends)
    assert whole.startswith(given_on)
    assert not any(stop in given_on for stop in stops)
    if not ends:
        assert given_on == whole


@pytest.mark.timeout(60)
def test_a_stop_string_that_matches_again_and_again_takes_little_time_for_each_token() -> None:
    """Of each token, the event loop looked for 16 times 511 beginnings: 2 ms, which is minutes here."""
    repeated = " a" * 255
    found = Stops([repeated + "X", *("Z" * (512 - index) for index in range(15))])
    given_on = "".join(found.add(" a")[0] for _ in range(100_000))
    assert given_on + found.rest() == " a" * 100_000
    assert found.add(repeated + "X and more") == ("", True)


class Bytes(Letters):
    """A token a byte: characters come in pieces."""

    def decode(self, tokens: Any) -> str:
        return bytes(tokens).decode(errors="replace")


@given(st.text(max_size=12), st.text(max_size=12))
def test_text_of_tokens_is_the_text_of_them_all(prompt: str, answer: str) -> None:
    text = Detokenizer(Bytes(), list(prompt.encode()))
    pieces = [text.add(byte) for byte in answer.encode()]
    assert "".join(pieces) + text.rest() == answer
    assert not any("\ufffd" in piece for piece in pieces if "\ufffd" not in answer)


class Runs(Bytes):
    """As SentencePiece's tokenizers decode: bytes in a row are characters together, or none of them is."""

    def decode(self, tokens: Any) -> str:
        try:
            return bytes(tokens).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(tokens)


WHOLE = st.text(st.characters(exclude_characters="\ufffd"), max_size=12)


@given(WHOLE, WHOLE)
@example("", "\U0001f469\u200d\U0001f469\u200d\U0001f467!")
@example("\U0001f600\U0001f600", "\U0001f600")
def test_characters_of_several_bytes_in_a_row_are_whole(prompt: str, answer: str) -> None:
    text = Detokenizer(Runs(), list(prompt.encode()))
    assert "".join(text.add(byte) for byte in answer.encode()) + text.rest() == answer


@pytest.mark.parametrize("tokenizer", [Bytes(), Runs()])
@pytest.mark.parametrize("before", ["", "a", "\U0001f600"])
@pytest.mark.parametrize("left", [1, 2, 3])
def test_of_a_cut_character_one_replacement_is_left(tokenizer: Bytes, before: str, left: int) -> None:
    """SentencePiece's tokenizers show one for each of its bytes, and of those in a row before them."""
    text = Detokenizer(tokenizer, b"p")
    shown = "".join(text.add(byte) for byte in before.encode() + "\U0001f600".encode()[:left])
    assert shown + text.rest() == before + "\ufffd"


class Stripped(Bytes):
    """As tokenizers that drop a text's leading space."""

    def decode(self, tokens: Any) -> str:
        return super().decode(tokens).removeprefix(" ")


def test_a_space_stays_after_a_short_context_without_any_whole_character() -> None:
    text = Detokenizer(Stripped(), [0x80, 0x80])
    assert "".join(text.add(byte) for byte in b" a") + text.rest() == " a"


class Library:
    """Of transformers, the part that reads a tokenizer's files; these make it fail."""

    def __init__(self, error: Exception) -> None:
        self.AutoTokenizer, self.error = self, error

    def from_pretrained(self, *_words: object, **_options: object) -> None:
        raise self.error


def test_files_that_are_no_tokenizer_are_an_invalid_model() -> None:
    with pytest.raises(LoadError, match="cannot be read: a cut file") as raised:
        HuggingFaceTokenizer.load(
            Library(TypeError("a cut  file")), Path("m"), trust_remote_code=False, max_model_len=64
        )
    assert raised.value.failure_class == "ModelInvalid"


def test_a_tokenizers_missing_package_stays_a_failed_import() -> None:
    with pytest.raises(ImportError, match="sentencepiece"):
        HuggingFaceTokenizer.load(
            Library(ImportError("sentencepiece")), Path("m"), trust_remote_code=False, max_model_len=64
        )


@pytest.mark.parametrize("token", [END, 0x80])
def test_tokens_without_text_are_not_decoded_again_and_again(token: int) -> None:
    """Of a client that ignores the end, or a model that makes no characters: the loop is everybody's."""

    class Watched(Bytes):
        most = 0

        def decode(self, tokens: Sequence[int]) -> str:
            self.most = max(self.most, len(tokens))
            return super().decode([one for one in tokens if one != END])

    watched = Watched()
    text = Detokenizer(watched)
    given = "".join(text.add(one) for one in [97, *[token] * 500, 98]) + text.rest()
    assert given == "a" + "\ufffd" * 500 * (token != END) + "b"
    assert watched.most <= CONTEXT_TOKENS + HELD_TOKENS + 1


def test_a_tokenizer_with_code_of_its_own_says_so() -> None:
    refused = Library(ValueError("contains custom code: pass trust_remote_code=True"))
    with pytest.raises(LoadError) as raised:
        HuggingFaceTokenizer.load(refused, Path("m"), trust_remote_code=False, max_model_len=64)
    assert raised.value.failure_class == "EngineNotSupported"
    assert "spec.model.trustRemoteCode" in raised.value.next_step


class Counted:
    """A tokenizer of one token a digit; other characters have none."""

    def __init__(self) -> None:
        self.characters = 0

    def __call__(self, text: str, **_options: object) -> dict[str, list[int]]:
        self.characters += len(text)
        return {"input_ids": [int(one) for one in text if one.isdigit()]}

    def apply_chat_template(self, conversation: list[dict[str, str]], **_options: object) -> str:
        return conversation[0]["content"]


def test_of_a_text_far_longer_than_the_context_only_the_beginning_is_tokenized() -> None:
    library = Counted()
    tokenizer = HuggingFaceTokenizer(library, 64)
    long = 50 * PIECE_CHARACTERS * "1"
    for ask in (tokenizer.encode, lambda text: tokenizer.chat([{"role": "user", "content": text}], {})):
        library.characters = 0
        with pytest.raises(ValueError, match="more than 128 tokens"):
            ask(long)
        assert library.characters <= PIECE_CHARACTERS
        assert len(ask(PIECE_CHARACTERS * "1")) == PIECE_CHARACTERS, "told with the exact number of tokens"
        assert len(ask(long.replace("1", " ") + "1")) == 1
