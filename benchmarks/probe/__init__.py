"""How far the probe can be trusted: against laws that are known, twins, other tools and its own limits."""
