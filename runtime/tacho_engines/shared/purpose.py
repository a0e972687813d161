"""What a model is for, where it is not for generating text, and what to do with it instead."""

from __future__ import annotations

import re

from tacho_contract.model import Architecture

NO_TEXT = (
    *("ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", "ForQuestionAnswering"),
    *("ForTextEncoding", "ForRewardModeling", "ForRetrieval", "ForRanking", "ForJointSchema", "Model"),
)
"""Endings of the names of architectures that generate no text, but embeddings, scores or classes. Source:
vLLM 0.32 config/model.py _SUFFIX_TO_DEFAULTS; models/registry.py, its registries of pooling models."""
GENERATES = (
    *("ChatModel", "LMHeadModel", "ChatGLMModel", "OmniModel", "UltravoxModel", "MossAudioModel"),
    "MiDashengLMModel",
)
"""Endings of those that generate text all the same."""
POOLS = frozenset((
    *("ColQwen3", "ColQwen3_5", "HF_ColBERT", "Terratorch"),
    # Of GGUF files. Source: llama.cpp src/llama-arch.cpp.
    *("bert", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3"),
    *("eurobert", "gemma-embedding", "llama-embed", "t5encoder", "clip"),
))  # fmt: skip
"""The same whose names end otherwise."""
DRAFTS = re.compile(
    r"(P?[Ee]agle3?|PEagle|DFlash)[A-Z]"
    r"|.*(MTP|MTPModel|DraftModel|DSparkModel|Eagle3|MedusaModel|AssistantModel)$"
)
"""Names of architectures that guess tokens for another model. Source: vLLM 0.32 models/registry.py
_SPECULATIVE_DECODING_MODELS."""
TRANSCRIBES = tuple(
    f"{family}ForConditionalGeneration"
    for family in ("Whisper", "CohereAsr", "FireRedASR2", "FunASR", "MossTranscribeDiarize")
)
"""Architectures that answer no completions, but transcribe. Source: vLLM 0.32 models, those with
supports_transcription_only."""
TRANSLATES = tuple(
    f"{family}ForConditionalGeneration"
    for family in ("T5", "MT5", "UMT5", "LongT5", "Bart", "MBart", "Pegasus", "M2M100")
)
"""Architectures with an encoder and a decoder, which none of the engines serves as a language model."""

LANGUAGE_MODEL = "Name a language model that generates text in spec.model.uri"
DRAFTED = "Name the model that it drafts for in spec.model.uri; --speculative-config adds the draft to it"


def elsewhere(command: str) -> str:
    """The next step for a model that vLLM's ``command`` serves, and tacho does not."""
    return f"{LANGUAGE_MODEL}, or serve this one in a Deployment of your own ({command})"


EMBEDDED, TRANSCRIBED = elsewhere("vllm serve --runner pooling"), elsewhere("vllm serve")


def other_purpose(architecture: Architecture) -> tuple[str, str]:
    """Why models of the ``architecture`` answer no chat, and what to do; "" and "" if they do, or if that is
    not known.
    """
    name = architecture.name
    if DRAFTS.match(name):
        return f"{name} is a draft, which guesses tokens for another model", DRAFTED
    if name in TRANSCRIBES:
        return f"{name} transcribes speech and answers no completions", TRANSCRIBED
    if name in TRANSLATES:
        return f"{name} has an encoder and a decoder", LANGUAGE_MODEL
    if name in POOLS or (name.endswith(NO_TEXT) and not name.endswith(GENERATES)):
        return f"{name} generates no text, but embeddings, scores or classes", EMBEDDED
    return "", ""
