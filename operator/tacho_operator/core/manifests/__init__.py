"""Complete manifests of the desired children. shell/execute.py decides how they are applied."""
