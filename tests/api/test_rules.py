"""The accept/reject table, judged by a real API server: the same answers as offline."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tacho_operator.api.rules import RULES
from tests.unit.api.leaves import WRONG, shown, wrong_at
from tests.unit.api.rows import Row
from tests.unit.api.table import TABLE
from tools.cluster.handle import Cluster

RULE_MESSAGES = {rule.message for rule in RULES}


def answer(api: Cluster, document: dict[str, Any]) -> str:
    """What the API server says against a resource; empty where it takes it."""
    try:
        api.create_on_trial(document)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_api_server_says_of_each_row_what_the_table_says(api: Cluster, row: Row) -> None:
    said = answer(api, row.document())
    assert {message for message in RULE_MESSAGES if message in said} == row.messages()
    assert bool(said) == bool(row.messages() or row.malformed), said
    if row.malformed:
        assert row.malformed in said


def test_the_api_server_names_each_leaf_that_is_wrong(api: Cluster) -> None:
    said = {path: answer(api, wrong_at(path)) for path in WRONG}
    unnamed = {path: words for path, words in said.items() if shown(path) not in words}
    assert unnamed == {}
