"""Switches and variables of llama.cpp that a user may not set."""

from __future__ import annotations

from tacho_engines.row import Refused
from tacho_engines.shared.refused import ADMIN, OWN

REFUSED = Refused(
    switches={
        "media-path": (ADMIN, "send media with the request"),
        "slots": (ADMIN, "leave it out; the load is at /load of port 9400"),
        "slot-save-path": (ADMIN, "leave it out"),
        "props": (ADMIN, "leave it out"),
        "rpc": (ADMIN, "leave it out"),
        "path": (ADMIN, "leave it out; files are not served"),
        "log-file": (ADMIN, "read the container's log"),
        "tools": (ADMIN, "leave it out"),
        "api-key-file": ("the key has a field of its own", "use endpoint.apiKeySecretRef"),
        "model-url": (OWN, "set model.uri"),
        "models-dir": (OWN, "set model.uri"),
        "models-preset": (OWN, "set model.uri"),
        "hf-repo": (OWN, "set model.uri"),
        "hf-file": (OWN, "set model.files"),
        "alias": (OWN, "set model.servedName"),
        "ctx-size": (OWN, "set context.maxModelLen"),
        "parallel": (OWN, "set context.concurrency"),
    },
    short={
        "m": "model",
        "mu": "model-url",
        "hf": "hf-repo",
        "hfr": "hf-repo",
        "hff": "hf-file",
        "hft": "hf-token",
        "a": "alias",
        "c": "ctx-size",
        "np": "parallel",
    },
    variable_prefixes={
        "LLAMA_ARG_": (
            "it sets a switch of llama.cpp past this check",
            "write the switch into engine.extraArgs",
        )
    },
)
