"""What engines run on: the GPU table, and what labels and names of products stand for."""
