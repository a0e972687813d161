"""What a library repeats with each step is in the log once."""

from __future__ import annotations

import logging

import pytest

from tacho_transformers.quiet import say_once


def test_a_message_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    say_once("a.chatty.library")
    logger = logging.getLogger("a.chatty.library")
    for _ in range(3):
        logger.warning("cast from %s", "bfloat16")
    logger.warning("cast from %s", "float32")
    assert [record.getMessage() for record in caplog.records] == ["cast from bfloat16", "cast from float32"]
