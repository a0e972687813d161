"""The real Kubernetes the tests and the demo run on: a control plane alone, or one with a node.

``python -m tools.cluster --help`` is its command line, ``tests.cluster_fixtures`` its pytest plugin.
Its own words for things: README.md beside this file.
"""
