"""Switches and variables that a user may not set, as several engines or every program spells them."""

from __future__ import annotations

from tacho_engines.profile import DeniedOptions

CODE = "it makes the engine load code that is not part of its image"
ADMIN = "it opens administration or private data to every client that reaches the server"
OWN = "tacho sets it itself"

COMMON = DeniedOptions(
    switches={
        "trust-remote-code": (CODE, "set model.trustRemoteCode"),
        "config": ("it reads further arguments from a file", "write them into engine.extraArgs"),
        "api-key": ("a key on a command line is no secret", "use endpoint.apiKeySecretRef"),
        "hf-token": ("a token on a command line is no secret", "use model.tokenSecretRef"),
        "host": (OWN, "leave it out"),
        "port": (OWN, "leave it out"),
        "model": (OWN, "set model.uri"),
        "revision": (OWN, "set model.revision"),
        "served-model-name": (OWN, "set model.servedName"),
        "quantization": (OWN, "set quantization.method"),
    },
    inside=("trust-remote-code",),
    variables={
        "PYTHONPATH": (CODE, "build it into an image and set engine.image"),
        "PYTHONHOME": (CODE, "build it into an image and set engine.image"),
        "PYTHONSTARTUP": (CODE, "leave it out"),
        "PYTHONUSERBASE": (CODE, "build it into an image and set engine.image"),
        "PYTHONBREAKPOINT": (CODE, "leave it out"),
        "LD_PRELOAD": (CODE, "build it into an image and set engine.image"),
        "LD_AUDIT": (CODE, "leave it out"),
        "LD_LIBRARY_PATH": (CODE, "build it into an image and set engine.image"),
        "BASH_ENV": (CODE, "leave it out"),
        "NVIDIA_VISIBLE_DEVICES": ("it reaches GPUs the pod was not given", "set gpu.count"),
        "HF_TOKEN": ("the token stays out of the engine's container", "use model.tokenSecretRef"),
        "HUGGING_FACE_HUB_TOKEN": (
            "the token stays out of the engine's container",
            "use model.tokenSecretRef",
        ),
    },
    variable_prefixes={"TACHO_": (OWN, "leave it out")},
)
