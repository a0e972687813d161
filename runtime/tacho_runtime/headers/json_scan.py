"""Reads JSON of any size entry by entry, from pieces of its text, of which one is in memory at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tacho_contract.failure import FailedError
from tacho_runtime.headers.source import invalid

_SPACE = re.compile(r"[ \t\n\r]*")
_FOLLOWING = frozenset(" \t\n\r,:]}")


class JsonScan:
    """A JSON document, of which the caller reads each value in turn: by ``entries``, ``value`` or ``skip``.

    They raise FailedError, whose message names the document ``what``. NaN and Infinity are read, as Python's
    json writes them.
    """

    def __init__(self, pieces: Iterable[bytes], what: str) -> None:
        self._pieces, self._what = codecs.iterdecode(pieces, "utf-8"), what
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def entries(self) -> Iterator[str]:
        """The keys of the object that is next. After each, the caller reads its value."""
        self._take("{")
        if self._next() == "}":
            self._take("}")
            return
        following = ","
        while following == ",":
            key = self.value()
            if not isinstance(key, str):
                raise self._refused("a key is no text")
            self._take(":")
            yield key
            following = self._take(",}")

    def value(self) -> Any:
        """The whole value that is next."""
        while True:
            self._next()
            try:
                found, end = self._decode(self._text, self._at)
            except RecursionError:
                raise self._refused("nested too deep") from None
            except ValueError as error:
                if not self._read_on():
                    raise self._refused(str(error)[:120]) from None
                continue
            # A number may go on in the next piece: 12 in 12.5.
            if self._text[end : end + 1] in _FOLLOWING or not self._read_on():
                self._at = end
                return found

    def skip(self) -> None:
        """Passes over the value that is next; over an object entry by entry."""
        if self._next() == "{":
            for _ in self.entries():
                self.value()
        else:
            self.value()

    def end(self) -> None:
        """Checks that nothing follows."""
        if self._next():
            raise self._refused("text follows the end")

    def _next(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches ""
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _take(self, allowed: str) -> str:
        found = self._next()
        if not found or found not in allowed:
            raise self._refused(
                f"{found!r} in place of {' or '.join(allowed)}" if found else "it is cut short"
            )
        self._at += 1
        return found

    def _read_on(self) -> bool:
        """Adds the next piece to what is left of the text; False at the end."""
        try:
            piece = next(self._pieces, "")
        except ValueError as error:
            raise self._refused(str(error)[:120]) from None
        if piece:
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _refused(self, detail: str) -> FailedError:
        return invalid(f"{self._what} is not JSON ({detail}).")
