"""``tacho simulate``: its options, runs and results, as table, document or page."""
