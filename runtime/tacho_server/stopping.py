"""Stop strings in text that comes in pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Gives text on, except what may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """(text to give on, whether a stop string was met). The stop string itself is not given on."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            text, self._held = self._held[: min(places)], ""
            return text, True
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text, False

    def rest(self) -> str:
        """What was held back in vain."""
        text, self._held = self._held, ""
        return text

    def _overlap(self, stop: str) -> int:
        """The longest end of what is held that ``stop`` begins with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
