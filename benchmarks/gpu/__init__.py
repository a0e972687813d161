"""tacho on a real GPU: the product as a node of Kubernetes, and cells of engines by `tacho run`."""
