"""When a request is sent at all: equal by value, drift seen, abandoned fields seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.shell.drift import abandoned, contains

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "defaulted": True}, {"a": 1}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "1000m"}}}),
        ({"resources": {"requests": {"memory": "1Gi"}}}, {"resources": {"requests": {"memory": "1024Mi"}}}),
        ({"resources": {"limits": {"storage": "25e-3"}}}, {"resources": {"limits": {"storage": "25m"}}}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": 1}}}),
        (
            {"volumes": [{"emptyDir": {"sizeLimit": "1Gi"}}]},
            {"volumes": [{"emptyDir": {"sizeLimit": "1024Mi"}}]},
        ),
        ({"resources": {"limits": {"x": "20E"}}}, {"resources": {"limits": {"x": "20000P"}}}),
        ({"selector": {"role": "server"}, "type": "ClusterIP"}, {"selector": {"role": "server"}}),
        ({}, {"empty": {}, "none": [], "blank": "", "off": False}),
        ({"list": [{"name": "x", "protocol": "TCP"}]}, {"list": [{"name": "x"}]}),
    ],
)
def test_nothing_to_do(live: Any, wanted: Any) -> None:
    assert contains(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "2"}}}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "one"}}}),
        ({"resources": {"limits": {"x": "9223372036854775807"}}}, {"resources": {"limits": {"x": "16E"}}}),
        ({"resources": {"limits": {"x": "2n"}}}, {"resources": {"limits": {"x": "0.000000001"}}}),
        ({"resources": {"limits": {"x": {"a": "1"}}}}, {"resources": {"limits": {"x": "1"}}}),
        ({"resources": {"limits": {"x": "1" + "0" * 100}}}, {"resources": {"limits": {"x": "1e100"}}}),
        ({"env": [{"name": "A", "value": "1e3"}]}, {"env": [{"name": "A", "value": "1000"}]}),
        ({"env": [{"name": "A", "value": "1Ki"}]}, {"env": [{"name": "A", "value": "1024"}]}),
        ({"labels": {"limits": "1"}}, {"labels": {"limits": "1000m"}}),
        ({"selector": {"role": "server", "revision": "x"}}, {"selector": {"role": "server"}}),
        ({"matchLabels": {"a": "b", "c": "d"}}, {"matchLabels": {"a": "b"}}),
        (
            {"from": [{"namespaceSelector": {"matchExpressions": [], "matchLabels": {"a": "b"}}}]},
            {"from": [{"namespaceSelector": {"matchExpressions": []}}]},
        ),
        (
            {"ingress": [{"ports": [{"port": 1}], "from": [{"podSelector": {}}]}]},
            {"ingress": [{"ports": [{"port": 1}]}]},
        ),
        ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}, "x": {}}]}, {"from": [{"x": {}}]}),
        ({"list": [1, 2]}, {"list": [1]}),
        ({"list": []}, {"list": [1]}),
        ({"on": True}, {"on": False}),
        ({"text": "1Gi of something"}, {"text": "1024Mi"}),
        ({"a": None}, {"a": {"b": 1}}),
        ({}, {"tolerationSeconds": 0}),
    ],
)
def test_something_to_do(live: Any, wanted: Any) -> None:
    assert not contains(live, wanted)


@given(JSON)
def test_everything_contains_itself(value: Any) -> None:
    assert contains(value, value)


def live_with(fields: dict[str, Any], manager: str = "tacho-operator") -> dict[str, Any]:
    return {"metadata": {"managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]}}


def test_a_field_we_own_and_no_longer_want_is_abandoned() -> None:
    live = live_with({"f:data": {".": {}, "f:kept": {}, "f:dropped": {}}})
    assert abandoned(live, {"data": {"kept": "x"}}, "tacho-operator")
    assert not abandoned(live, {"data": {"kept": "x", "dropped": "y"}}, "tacho-operator")


def test_fields_of_other_managers_are_not_our_business() -> None:
    assert not abandoned(live_with({"f:data": {"f:theirs": {}}}, "kubectl"), {}, "tacho-operator")


def test_list_elements_are_left_to_the_comparison_of_content() -> None:
    live = live_with({"f:spec": {"f:ports": {'k:{"port":80}': {".": {}, "f:port": {}}}}})
    assert not abandoned(live, {"spec": {"ports": [{"port": 81}]}}, "tacho-operator")
