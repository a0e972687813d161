"""A machine without a node: a failure where one is promised, elsewhere a skip that says why."""

import pytest

from tests.cluster_fixtures import unavailable


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_a_missing_node_is_never_silent(
    ci: str | None, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no root"):
        unavailable("no root")
