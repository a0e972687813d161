"""Inspection: asking once, waiting, trying again, and never asking in vain."""

from __future__ import annotations

import copy
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.model import InspectConfig
from tacho_contract.units import format_time
from tacho_operator.core import names
from tacho_operator.core.revisions.inspection import (
    CLAIM_RETRY_SECONDS,
    facts_key,
)
from tests.unit.core.golden import assert_golden
from tests.unit.core.inspecting import DENIED, GONE, hub_world, look, step
from tests.unit.core.pod_security import violations
from tools.harness.resources import CLAIM_SPEC, CONFIG, HUB_SPEC, changed, facts, hub_facts, resource
from tools.harness.world import World


@pytest.mark.parametrize(("name", "spec"), [("claim", None), ("hub", HUB_SPEC)])
def test_inspect_pod_is_as_reviewed(name: str, spec: dict[str, Any] | None) -> None:
    world = World(spec)
    (pod,) = step(world).apply
    assert_golden(f"inspect-{name}", pod)
    assert violations(pod["spec"]) == []


def test_the_pod_runs_where_the_template_says_without_gpus_or_the_cache() -> None:
    template = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "nodeSelector": {"zone": "b"},
            "tolerations": [{"operator": "Exists"}],
            "imagePullSecrets": [{"name": "pull"}],
            "serviceAccountName": "puller",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 300,
        },
    }
    world = World(changed(HUB_SPEC, podTemplate=template, gpu={"count": 4}))
    (pod,) = step(world).apply
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"zone": "b"}
    assert spec["serviceAccountName"] == "puller"
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] == CONFIG.inspect_deadline_seconds
    assert "nvidia" not in str(pod)
    assert "cache" not in [v.get("persistentVolumeClaim", {}).get("claimName") for v in spec["volumes"]]
    assert pod["metadata"]["labels"][names.ROLE_LABEL] == "inspect"


def test_reading_every_byte_has_the_time_that_it_takes() -> None:
    inspection = look(World(changed(CLAIM_SPEC, model={**CLAIM_SPEC["model"], "verification": "Full"})))
    (pod,) = inspection.apply
    assert pod["spec"]["activeDeadlineSeconds"] > CONFIG.inspect_deadline_seconds
    assert "every byte" in inspection.reason
    other = look(World())
    assert "headers" in other.reason
    assert other.apply[0]["metadata"]["name"] != pod["metadata"]["name"], "another question, another answer"


def test_a_claims_model_is_looked_at_read_only() -> None:
    (pod,) = step(World()).apply
    (mount,) = [
        item for item in pod["spec"]["containers"][0]["volumeMounts"] if item["mountPath"] == "/models"
    ]
    assert mount["readOnly"] is True


def test_the_question_and_the_token_reach_the_pod() -> None:
    (pod,) = step(hub_world()).apply
    variables = {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}
    question = codec.loads(InspectConfig, variables["TACHO_INSPECT_CONFIG"]["value"])
    assert str(question.uri) == "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
    assert question.endpoint == "https://hub.example"
    assert question.parse is True
    assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hf", "key": "HF_TOKEN"}


def test_asked_once_while_the_pod_runs() -> None:
    world = hub_world()
    step(world)
    again = step(world, 5)
    assert again.apply == ()
    assert again.running
    assert len(world.pods("inspect")) == 1


def test_the_answer_is_taken_and_then_known() -> None:
    world = hub_world()
    step(world)
    world.inspected(hub_facts())
    found = step(world, 1)
    assert found.facts == hub_facts()
    world.objects["ConfigMap", "smol-facts"] = {
        "metadata": {"name": "smol-facts"},
        "data": {facts_key(resource(HUB_SPEC)): codec.pack(hub_facts())},
    }
    known = step(world, 1)
    assert known.facts == hub_facts()
    assert not world.pods("inspect"), "the pod that answered goes once the answer is stored"


def test_a_failure_that_may_heal_is_tried_again_with_growing_pauses() -> None:
    world = hub_world()
    step(world)
    pauses = []
    for attempt in range(1, 9):
        world.inspected(GONE)
        waiting = look(world)
        assert waiting.problem is not None
        assert (waiting.problem.reason, waiting.problem.needs_user_action) == ("HubUnreachable", False)
        assert waiting.requeue_after_seconds is not None
        pauses.append(waiting.requeue_after_seconds)
        assert look(world, waiting.requeue_after_seconds - 1).apply == ()
        retry = step(world, 2)  # the time at which a pod ended is told in whole seconds
        assert retry.apply[0]["metadata"]["annotations"][names.ATTEMPT_ANNOTATION] == str(attempt + 1)
        running = step(world, 1)
        assert running.problem is not None, "the last failure stays visible while trying again"
        assert len(world.pods("inspect")) <= 2
    assert pauses == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300], abs=1)


def test_a_failure_only_a_person_can_mend_is_tried_rarely() -> None:
    world = hub_world()
    step(world)
    world.inspected(DENIED)
    found = look(world)
    assert found.problem is not None
    assert found.problem.needs_user_action
    assert "Name a Secret." in found.problem.message
    assert not found.running
    assert found.requeue_after_seconds == 600
    assert step(world, 599).apply == ()
    assert step(world, 1).apply != ()


@pytest.mark.parametrize(
    ("spec", "failure_class", "again"),
    [
        (HUB_SPEC, "ModelNotFound", 600),
        (None, "ModelNotFound", CLAIM_RETRY_SECONDS),
        (HUB_SPEC, "UnsupportedQuantization", None),
        (None, "UnsupportedQuantization", None),
    ],
)
def test_where_a_person_is_needed_a_claim_is_looked_at_more_often(
    spec: dict[str, Any] | None, failure_class: str, again: float | None
) -> None:
    world = World(spec or CLAIM_SPEC)
    step(world)
    world.inspected(Failure(failure_class=failure_class, message="No.", next_step="Mend it."))
    found = look(world)
    assert (found.running, found.requeue_after_seconds) == (False, again)
    assert (look(world, 10_000).apply != ()) == (again is not None)


def stray(world: World) -> str:
    """A pod that asks in a former way, beside the one that asks in the present way."""
    pod = copy.deepcopy(world.pods("inspect")[0])
    pod["metadata"] |= {"name": "smol-inspect-former-1", "uid": "former"}
    world.objects["Pod", "smol-inspect-former-1"] = pod
    return "smol-inspect-former-1"


@pytest.mark.parametrize("answer", [None, hub_facts(), GONE, DENIED])
def test_who_asks_in_a_former_way_goes_whatever_the_present_one_finds(answer: Any) -> None:
    world = hub_world()
    step(world)
    former = stray(world)
    if answer is not None:
        del world.objects["Pod", former]
        world.inspected(answer)
        former = stray(world)
    for seconds in (0, 10_000):
        found = look(world, seconds)
        assert [reference.name for reference in found.delete] == [former]


def test_of_the_tries_before_only_the_last_is_kept() -> None:
    world = hub_world()
    step(world)
    for _ in range(3):
        world.inspected(GONE)
        assert look(world).requeue_after_seconds is not None, "the next try has its time"
        step(world, 600)
        assert len(world.pods("inspect")) <= 2
        waits = step(world).requeue_after_seconds
        assert waits is not None
        assert waits > 500, "while it runs, only its deadline"


def test_another_secret_is_another_try_at_once() -> None:
    world = hub_world()
    step(world)
    world.inspected(DENIED)
    step(world, 1)
    (old,) = world.pods("inspect")
    world.change(model={**HUB_SPEC["model"], "tokenSecretRef": {"name": "better"}})
    found = step(world, 1)
    assert len(found.apply) == 1
    assert [reference.name for reference in found.delete] == [old["metadata"]["name"]]
    assert found.problem is None


def test_facts_do_not_depend_on_the_token_but_on_the_question() -> None:
    def key(**model: Any) -> str:
        return facts_key(resource(changed(HUB_SPEC, model={**HUB_SPEC["model"], **model})))

    assert key(tokenSecretRef={"name": "other"}) == key()
    assert key(servedName="other") == key()
    others: list[dict[str, Any]] = [
        {"revision": "v2"},
        {"files": ["*.gguf"]},
        {"trustRemoteCode": True},
        {"uri": "hf://a/b"},
        {"hub": {}},
    ]
    for fields in others:
        assert key(**fields) != key(), fields
    asked = resource(HUB_SPEC, annotations={names.REPLAN_ANNOTATION: "1"})
    assert facts_key(asked) != key()


def test_a_hub_that_a_variable_names_is_asked_as_one_in_a_field_is() -> None:
    """Its commits are its own: of another hub's, files would be downloaded that are not there."""

    def key(hub: str) -> str:
        variables = [
            {"name": "HF_HUB_DOWNLOAD_TIMEOUT", "value": "30"},
            {"name": "HF_ENDPOINT", "value": hub},
        ]
        model = {**HUB_SPEC["model"], "hub": {"env": variables if hub else variables[:1]}}
        return facts_key(resource(changed(HUB_SPEC, model=model)))

    hubs = ("", "https://a.example", "https://b.example")
    assert len({key(hub) for hub in hubs}) == len(hubs)
    plain = {name: value for name, value in HUB_SPEC["model"].items() if name != "hub"}
    assert key("") == facts_key(resource(changed(HUB_SPEC, model=plain)))


def test_an_unencrypted_hub_is_refused_unless_allowed() -> None:
    hub = {**HUB_SPEC["model"], "hub": {"endpoint": "http://hub.example"}}
    world = World(changed(HUB_SPEC, model=hub))
    found = look(world)
    assert found.problem is not None
    assert (found.problem.reason, found.problem.needs_user_action) == ("InvalidConfig", True)
    assert found.apply == ()
    world.config = dataclasses.replace(CONFIG, allow_insecure_hub=True)
    assert look(world).apply != ()


def test_a_custom_engines_model_is_listed_not_parsed() -> None:
    world = World()
    world.change(engine={"name": "custom", "image": "i", "custom": {"command": ["x"]}})
    (pod,) = step(world).apply
    variables = {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}
    assert codec.loads(InspectConfig, variables["TACHO_INSPECT_CONFIG"]["value"]).parse is False


def test_two_revisions_of_one_question_share_the_facts() -> None:
    world = World()
    step(world)
    world.inspected(facts())
    assert look(world).facts == facts()
    world.change(context={"maxModelLen": 512, "concurrency": 1})
    assert look(world).facts == facts()


@pytest.mark.parametrize("ahead", [30.0, 8 * 3600.0])
def test_a_clock_that_is_ahead_delays_the_next_attempt_for_no_hours(ahead: float) -> None:
    world = hub_world()
    step(world)
    world.inspected(GONE)
    (pod,) = world.pods("inspect")
    (container,) = pod["status"]["containerStatuses"]
    container["state"]["terminated"]["finishedAt"] = format_time(world.now + timedelta(seconds=ahead))
    wait = look(world).requeue_after_seconds
    assert wait is not None
    assert 0 < wait < 120
    assert look(world, wait + 1).apply


@pytest.mark.parametrize(
    ("behind", "waits"),
    [(300.0, True), (1800.0, False), (8 * 3600.0, False), (3 * 365 * 86400.0, False)],
)
def test_an_operators_clock_that_is_behind_stops_no_further_attempt(behind: float, waits: bool) -> None:
    """Every time in the cluster is ahead of it then, and the next attempt was as far away."""
    world = hub_world()
    step(world)
    world.inspected(GONE)
    wait = look(world, -behind).requeue_after_seconds
    assert (wait is not None) is waits
    assert bool(look(world).apply) is not waits


def test_an_attempt_of_any_length_is_read() -> None:
    world = hub_world()
    world.reconcile()
    (pod,) = world.pods("inspect")
    pod["metadata"]["annotations"][names.ATTEMPT_ANNOTATION] = "9" * 5000
    assert look(world).reason


def test_after_a_forged_attempt_one_pod_follows() -> None:
    """Its number was not read: each decision created the pod or deleted it."""
    world = hub_world()
    world.reconcile()
    world.inspected(GONE)
    (forged,) = world.pods("inspect")
    for digits in (1, 9, 20, 99):
        del world.objects["Pod", forged["metadata"]["name"]]
        forged["metadata"]["name"] = forged["metadata"]["name"].rpartition("-")[0] + "-" + "9" * digits
        forged["metadata"]["annotations"][names.ATTEMPT_ANNOTATION] = "9" * digits
        world.objects["Pod", forged["metadata"]["name"]] = forged
        (pod,) = look(world, 900).apply
        world.reconcile(900)
        assert not world.reconcile(1).delete
        del world.objects["Pod", pod["metadata"]["name"]]
