"""What a measurement in status is called: its state, and how far it may be believed."""

from __future__ import annotations

COMPLETE, PARTIAL, STALE = "Complete", "Partial", "Stale"
USABLE = (COMPLETE, PARTIAL)
CLEAN, PROVISIONAL = "Clean", "Provisional"
INCOMPLETE = "Incomplete"
"""Flag by which a Partial measurement is known again when it was Stale and its workload comes back."""
