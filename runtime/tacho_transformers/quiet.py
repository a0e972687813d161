"""A library's warning that comes with each step of each request is logged once."""

from __future__ import annotations

import logging


class Once(logging.Filter):
    """Lets each message through the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        first = message not in self._said
        self._said.add(message)
        return first


def say_once(logger: str) -> None:
    """Makes ``logger`` suppress repeated messages from this call on."""
    logging.getLogger(logger).addFilter(Once())
