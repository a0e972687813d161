"""Complete manifests of a resource's child objects. shell/execute.py applies them."""
