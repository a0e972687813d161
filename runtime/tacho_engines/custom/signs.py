"""What the last lines of an engine say that nothing is known of."""

from __future__ import annotations

import re

from tacho_contract.failure import FailureClass
from tacho_engines.shared.signs import Sign

SIGNS = (
    Sign(
        pattern=re.compile(r"(?i)address already in use"),
        failure_class=FailureClass.PORT_IN_USE,
        message="the engine's port is taken by another process",
        next_step="make the engine listen on $(TACHO_PORT), and nothing else in the pod",
    ),
)
