"""The hardware that engines run on: the GPU table, and the names and labels of GPU products."""
