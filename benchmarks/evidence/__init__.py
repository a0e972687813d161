"""Pages of docs/evidence: one claim each, with figures that are computed from the raw data."""
