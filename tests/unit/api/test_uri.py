"""One grammar of model URIs: what the API server's rules accept is what is understood, and nothing else."""

from __future__ import annotations

import cel
import pytest
from hypothesis import example, given, strategies as st
from pydantic import ValidationError

from tacho_contract.uri import (
    CLAIM_PATTERN,
    FILE_PATTERN,
    HUB_PATTERN,
    ClaimUri,
    FileUri,
    HubUri,
    ModelUri,
    parse_uri,
)
from tacho_operator.api.rules import RULES as ALL_RULES
from tacho_operator.api.spec.sources import ModelSpec

RULES = [cel.compile(rule.cel) for rule in ALL_RULES if rule.name in ("uri-form", "uri-parent")]

URIS = st.one_of(
    st.from_regex(HUB_PATTERN),
    st.from_regex(CLAIM_PATTERN),
    st.from_regex(FILE_PATTERN),
    st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                ["hf:", "pvc:", "file:", "s3:", "//", "/", "..", ".", "-", "_", "a", "A", "9", "\n", " ", "é"]
            ),
            max_size=9,
        ),
    ),
    st.text(),
)


@given(URIS)
@example("hf://a/b\n")
@example("file:///a\n")
@example("pvc://claim/a//b")
@example("pvc://claim/\n")
@example("file:///..")
@example("file:///a/..b")
def test_the_rules_accept_what_is_understood(text: str) -> None:
    accepted = all(rule.execute({"self": text}) is True for rule in RULES)
    try:
        parsed = parse_uri(text)
    except ValueError:
        assert not accepted
    else:
        assert accepted
        assert parse_uri(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://gpt2", HubUri("gpt2")),
        ("hf://mistralai/Mistral-7B-Instruct-v0.2", HubUri("mistralai/Mistral-7B-Instruct-v0.2")),
        ("pvc://models", ClaimUri("models")),
        ("pvc://models/", ClaimUri("models")),
        ("pvc://models.v2/deep/folder/", ClaimUri("models.v2", "deep/folder")),
        ("pvc://models/a file.gguf", ClaimUri("models", "a file.gguf")),
        ("file:///srv/models", FileUri("/srv/models")),
    ],
)
def test_the_parts_of_a_uri(text: str, parts: ModelUri) -> None:
    assert parse_uri(text) == parts
    assert ModelSpec(uri=text).source == parts


@pytest.mark.parametrize(
    "text",
    ["", "hf://", "hf://a/b/c", "hf://../x", "pvc:///x", "pvc://c/../d", "file://srv", "/srv", "s3://a/b"],
)
def test_what_is_no_uri_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"model URI|must not contain"):
        parse_uri(text)
    with pytest.raises(ValidationError):
        ModelSpec(uri=text)
