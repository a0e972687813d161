"""When a request is sent at all: equal by value, drift seen, abandoned fields seen."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.types import ChildRefusal, Reference
from tacho_operator.shell.drift import REWRITES, Rewrites, abandoned, contains

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
        ({"resources": {"limits": {"x": "1n"}}}, {"resources": {"limits": {"x": "0.0000000001"}}}),
        ({"resources": {"limits": {"x": "-1n"}}}, {"resources": {"limits": {"x": "-0.0000000001"}}}),
        (
            {"resources": {"limits": {"x": "1024000000001n"}}},
            {"resources": {"limits": {"x": "1.0000000000001Ki"}}},
        ),
        ({"resources": {"limits": {"x": "9223372036854775807"}}}, {"resources": {"limits": {"x": "16Ei"}}}),
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


def test_a_megabyte_of_nested_fields_takes_no_time() -> None:
    """A user may write managedFields in the operator's name. As a set of paths these took a minute."""
    fields: dict[str, Any] = {f"f:{number}": {} for number in range(90_000)}
    for _ in range(88):
        fields = {"f:a": fields}
    began = time.process_time()
    assert abandoned(live_with(fields), {"a": {"a": {}}}, "tacho-operator")
    assert time.process_time() - began < 2


def test_a_child_is_contested_by_its_own_writes_of_one_content() -> None:
    rewrites = Rewrites(clock=lambda: 0.0)
    first, second = ({"kind": "Service", "metadata": {"namespace": "ml", "name": name}} for name in "ab")
    for number in range(REWRITES):
        rewrites.note({**first, "spec": {"number": number}})
        rewrites.note({**second, "spec": {}})
    assert not rewrites.is_contested({**first, "spec": {"number": REWRITES - 1}}), "each brought a change"
    assert rewrites.is_contested({**second, "spec": {}})
    assert not rewrites.is_contested({**second, "spec": {"number": 1}})


def test_creations_after_the_operators_own_deletions_are_no_others_changes() -> None:
    """Scaling between one and two replicas deletes the PodDisruptionBudget: it was withheld for minutes."""
    rewrites, wanted = Rewrites(clock=lambda: 0.0), deployment("smol")
    own = Reference(kind="Deployment", name="smol-1", uid="a")
    for _ in range(2 * REWRITES):
        rewrites.note(wanted)
        rewrites.note_deletion(("ml", "smol"), own)
    assert not rewrites.is_contested(wanted)
    for _ in range(REWRITES):
        rewrites.note(wanted)
        rewrites.note_deletion(("ml", "smol"), Reference(kind="Deployment", name="smol-2", uid="b"))
    assert rewrites.is_contested(wanted), "another child's deletion does not count"


def test_a_refused_child_is_withheld_whatever_its_controllers_write() -> None:
    rewrites, wanted = Rewrites(clock=lambda: 0.0), {**deployment("smol"), "spec": {"replicas": 2}}
    refusal = ChildRefusal(kind="Deployment", name="smol-1", message="no", invalid=True)

    def found(version: int, replicas: int = 1, **metadata: Any) -> dict[str, Any]:
        written = {"resourceVersion": str(version), "generation": version, "managedFields": [{"at": version}]}
        body = {"spec": {"replicas": replicas}, "status": {"readyReplicas": version}}
        return {"metadata": {"name": "smol-1", "uid": "a", **written, **metadata}, **body}

    rewrites.note_refusal(found(1), wanted, refusal)
    assert rewrites.withheld(found(2), wanted) == refusal
    assert rewrites.withheld(found(2, replicas=3), wanted) is None, "somebody has changed it"
    assert rewrites.withheld(found(2, labels={"team": "a"}), wanted) is None
    rewrites.note(wanted)
    assert rewrites.withheld(found(1), wanted) is None, "it was written"


def test_nothing_is_kept_of_a_deleted_resource_s_children() -> None:
    rewrites, refusal = Rewrites(clock=lambda: 0.0), ChildRefusal(kind="D", name="d", invalid=True)
    for name in ("smol", "other"):
        rewrites.note_refusal(None, deployment(name), refusal)
        for _ in range(REWRITES):
            rewrites.note({**deployment(name), "kind": "Service"})
    rewrites.forget(("ml", "smol"))
    assert rewrites.withheld(None, deployment("smol")) is None
    assert not rewrites.is_contested({**deployment("smol"), "kind": "Service"})
    assert rewrites.withheld(None, deployment("other")) == refusal
    assert rewrites.is_contested({**deployment("other"), "kind": "Service"})


def deployment(owner: str) -> dict[str, Any]:
    metadata = {"namespace": "ml", "name": f"{owner}-1", "labels": {"tacho.dev/deployment": owner}}
    return {"kind": "Deployment", "metadata": metadata}
