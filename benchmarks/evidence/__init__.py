"""Pages of docs/evidence that are written from raw data."""
