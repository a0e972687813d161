"""Complete desired children as plain manifests: what to apply, never how."""
