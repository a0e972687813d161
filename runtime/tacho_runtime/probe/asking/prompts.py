"""Prompts that no cache has seen, of a wanted length in tokens. Pure; randomness is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase

from tacho_runtime.probe.statistics import least_squares

_TEXT = (
    "the of and to in is that it for as with was on are by this be from or have an they which one you were "
    "all her she there would their we him been has when who will no more if out so up said what its about "
    "than into them can only other time new some could these two may first then do any like my now over such "
    "our man me even most made after also well must before through back years where much your way down should"
)
WORDS = tuple(_TEXT.split())
"""Words that nearly every tokenizer keeps whole, so that a word is about a token."""
NONCE_WORDS, NONCE_LETTERS = 6, 12
CHANCE_TOKENS = 4
"""A cache that compares token by token may find so many of a new prompt among all that it has seen: its first
words are one of a hundred each."""


def random_ids(count: int, vocabulary: int, rng: Random) -> list[int]:
    """``count`` ids away from both ends of the vocabulary, where special tokens are."""
    high = max(2, min(30_000, int(vocabulary * 0.95)))
    low = min(1000, high // 4)
    return rng.choices(range(low, high), k=count)


@dataclass(frozen=True, slots=True)
class TextLength:
    """tokens = overhead + tokens_per_word * words, as the engine's usage counts them."""

    overhead: float = 1.0
    tokens_per_word: float = 1.0
    calibrated: bool = False

    def words_for(self, tokens: int) -> int:
        return max(1, round((tokens - self.overhead) / self.tokens_per_word))


def calibrate(samples: Sequence[tuple[int, int]]) -> TextLength:
    """From (words sent, prompt tokens counted). Uncalibrated when the samples make no sense."""
    line = least_squares([(float(words), float(tokens)) for words, tokens in samples])
    if line is None or line.slope <= 0:
        return TextLength()
    return TextLength(max(0.0, line.intercept), line.slope, calibrated=True)


def random_text(words: int, rng: Random) -> str:
    """Begins as no other prompt does: of a million prompts no two share five words. One that is too short for
    that begins with letters, which are some tokens more than a word."""
    drawn = rng.choices(WORDS, k=words)
    if words < NONCE_WORDS:
        drawn[0] = "".join(rng.choices(ascii_lowercase, k=NONCE_LETTERS))
    return " ".join(drawn)
