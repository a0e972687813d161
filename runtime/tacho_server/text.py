"""Text from single tokens: detokenizing, stop strings, and tokenizers of Hugging Face. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tacho_server.backend import Tokenizer
from tacho_server.errors import LoadError
from tacho_server.templates import bound_templates

INCOMPLETE = "\ufffd"
"""Character that a tokenizer returns for the bytes of an incomplete character."""
CONTEXT_TOKENS = 6
"""Number of earlier tokens that are decoded together with new ones, as tokenizers drop a leading space or
join characters.
"""
CUT_TOKENS = 3
"""Most of them that are left out where they begin amid a character, which has at most four bytes. Of bytes in
a row with a cut character, SentencePiece's tokenizers show none.
"""
HELD_TOKENS = 8
"""Most tokens without text that are held back. A character has at most four bytes, so more are no character.
Without a limit, decoding would take ever longer.
"""


class Detokenizer:
    """Gives the text that each new token adds; an incomplete character is held back until it is complete.

    The last few tokens are decoded with and without the new ones; the difference is the new text. Decoding
    all tokens each time would take quadratic time.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = list(prompt[-CONTEXT_TOKENS:])
        self._shown = len(self._tokens)
        """Number of tokens whose text was returned, or belongs to the prompt."""

    def add(self, token: int) -> str:
        """The text that ``token`` adds; "" while a character is not complete."""
        self._tokens.append(token)
        return self._added_text(final=False)

    def rest(self) -> str:
        """The text held back so far; of a cut character one INCOMPLETE is left, however many bytes it has."""
        held, text = len(self._tokens) - self._shown, self._added_text(final=True)
        is_cut = held <= CUT_TOKENS and text.endswith(INCOMPLETE)
        return text.rstrip(INCOMPLETE) + INCOMPLETE if is_cut else text

    def _added_text(self, *, final: bool) -> str:
        begin, before = self._context()
        now = self._tokenizer.decode(self._tokens[begin:])
        may_grow = not final and len(self._tokens) - self._shown < HELD_TOKENS
        if may_grow and (len(now) <= len(before) or now.endswith(INCOMPLETE)):
            return ""
        self._shown = len(self._tokens)
        return now[len(before) :]

    def _context(self) -> tuple[int, str]:
        """(where the tokens begin that are decoded before the new ones, their text)."""
        first = max(0, self._shown - CONTEXT_TOKENS)
        for begin in (*range(first, min(first + CUT_TOKENS + 1, self._shown)), first):
            text = self._tokenizer.decode(self._tokens[begin : self._shown]) if self._shown else ""
            if not text.startswith(INCOMPLETE):
                break
        return begin, text


LONG_CHARACTERS = 12
"""Characters per token of context beyond which a text is counted in pieces first. Text has about 4."""
PIECE_CHARACTERS = 64 * 1024
"""Characters of such a piece. Between two pieces the work can be aborted."""


class HuggingFaceTokenizer:
    """A tokenizer of transformers, which runs chat templates in Jinja's sandbox."""

    @classmethod
    def load(
        cls, transformers: Any, folder: Path, *, trust_remote_code: bool, max_model_len: int
    ) -> HuggingFaceTokenizer:
        """The tokenizer in the model's ``folder``. Raises LoadError, and ImportError for a package that it
        needs."""
        bound_templates()
        try:
            found = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=trust_remote_code
            )
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - what its files make the library raise cannot be foreseen
            message = f"the tokenizer in {folder} cannot be read: {' '.join(str(error).split())[:300]}"
            if "trust_remote_code" in message:
                step = "set spec.model.trustRemoteCode if you trust the repository, or another engine"
                raise LoadError("EngineNotSupported", message, step) from None
            raise LoadError("ModelInvalid", message, "put the model's tokenizer files beside it") from None
        return cls(found, max_model_len)

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self._tokenizer, self._max_model_len = tokenizer, max_model_len
        self.reserved = _parameters(type(tokenizer), "apply_chat_template")
        self.end_token: int | None = getattr(tokenizer, "eos_token_id", None)
        # The first call may change padding and truncation of the tokenizer itself, which threads must not do
        # to each other; later calls find them already set.
        tokenizer("")

    @property
    def chat_problem(self) -> str:
        if getattr(self._tokenizer, "chat_template", None):
            return ""
        return "the model's tokenizer has no chat template"

    def encode(self, text: str) -> Sequence[int]:
        return self._tokens(text)

    def _tokens(self, text: str, **options: Any) -> list[int]:
        """The tokens of ``text``. Raises ValueError for a text that is far longer than the context.

        Eight MB of text would take the tokenizer from others for many seconds.
        """
        if len(text) > max(PIECE_CHARACTERS, LONG_CHARACTERS * self._max_model_len):
            count, most = 0, 2 * self._max_model_len
            for begin in range(0, len(text), PIECE_CHARACTERS):
                count += len(self._tokenizer(text[begin : begin + PIECE_CHARACTERS])["input_ids"])
                if count > most:
                    raise ValueError(f"the text has more than {most} tokens, twice the model's context")
        tokens: list[int] = self._tokenizer(text, **options)["input_ids"]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def name(self, token: int) -> str:
        return str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Sequence[int]:
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True, **options
            )
        except Exception as error:
            # A template raises what it likes.
            raise ValueError(f"the chat template refuses these messages: {error}") from error
        # The template writes the special tokens that belong there.
        return self._tokens(text, add_special_tokens=False)


def _parameters(kind: type, method: str) -> frozenset[str]:
    """Parameter names of ``method``, in the class ``kind`` and in the classes to which it passes parameters
    on."""
    found: set[str] = set()
    for each in kind.__mro__:
        if (function := vars(each).get(method)) is not None:
            parameters = inspect.signature(function).parameters.values()
            found |= {one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD}
    return frozenset(found)


class Stops:
    """Looks for stop strings in streamed text: holds back what may be the beginning of one, passes on the
    rest.

    Each character of the text takes constant time: a client may send stop strings of which hundreds of
    characters match again and again.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(_Stop(stop) for stop in stops if stop)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """(text to send, whether a stop string was found). The stop string itself is not sent."""
        before, self._held = len(self._held), self._held + text
        places = [before + place for stop in self._stops if (place := stop.find(text)) is not None]
        if places:
            text, self._held = self._held[: min(places)], ""
            return text, True
        keep = max((stop.matched for stop in self._stops), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text, False

    def rest(self) -> str:
        """The text that was held back as a possible beginning of a stop string."""
        text, self._held = self._held, ""
        return text


class _Stop:
    """One stop string, and how much of it the text ends with (Knuth, Morris and Pratt's search)."""

    def __init__(self, stop: str) -> None:
        self._stop, self._shorter = stop, _borders(stop)
        self.matched = 0
        """Number of characters of its beginning that are the end of the text so far."""

    def find(self, text: str) -> int | None:
        """Where the stop string begins in ``text``, which follows the text so far; negative: before it.
        None: it is not complete.
        """
        stop, shorter, matched, at = self._stop, self._shorter, self.matched, 0
        while at < len(text):
            if not matched and (at := text.find(stop[0], at)) < 0:
                break
            while matched and stop[matched] != text[at]:
                matched = shorter[matched - 1]
            matched += stop[matched] == text[at]
            at += 1
            if matched == len(stop):
                return at - matched
        self.matched = matched
        return None


@functools.lru_cache(maxsize=256)
def _borders(stop: str) -> tuple[int, ...]:
    """For each beginning of ``stop``, the length of its longest shorter beginning that is its end as well."""
    found = [0]
    for at in range(1, len(stop)):
        length = found[-1]
        while length and stop[length] != stop[at]:
            length = found[length - 1]
        found.append(length + (stop[length] == stop[at]))
    return tuple(found)
