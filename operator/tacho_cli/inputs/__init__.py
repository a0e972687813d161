"""Reads what the commands need: manifests, options, models, clusters through kubectl, and this machine."""
