"""Figures of a machine that may have other work too: clean, or provisional for a reason that is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tacho_contract.measurement import INVALIDATING

THERE = ("MeasurementComplete", "MeasurementPartial")


def there(measured: Mapping[str, Any]) -> bool:
    """Whether the condition Measured says that there are figures, clean or not."""
    return measured.get("status") == "True" or measured.get("reason") == "MeasurementProvisional"


def moved_by(measured: Mapping[str, Any]) -> frozenset[str]:
    """The flags that make them provisional, none where they are clean. AssertionError where the condition
    does not say which, or names one that makes none provisional."""
    if measured["status"] == "True":
        assert measured["reason"] in THERE, measured
        assert "provisional" not in measured["message"].lower(), measured
        return frozenset()
    assert (measured["status"], measured["reason"]) == ("Unknown", "MeasurementProvisional"), measured
    named = re.search(r"[Pp]rovisional \(([\w, ]+)\)[.:…]", measured["message"])
    assert named, measured
    flags = frozenset(named[1].split(", "))
    assert flags <= INVALIDATING, measured
    return flags
