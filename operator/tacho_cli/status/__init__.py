"""``tacho status``: rows and details of resources, and their progress."""
