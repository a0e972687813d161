"""Problems from others' words: what admission refused, and what a container said when it ended."""

from __future__ import annotations

import time

import pytest

from tacho_contract.failure import FAILURE_KINDS, Failure, FailureClass
from tacho_operator.core.pods.diagnosis import creation_refused
from tacho_operator.core.problems import from_failure, parse_failure, refusal_problem, refused_child
from tacho_operator.core.types import ChildRefusal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: compute, requested: pods=1', "QuotaExceeded"),
        ("pods is forbidden: failed quota: q: must specify limits.cpu", "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": …', "AdmissionDenied"),
        (
            'services is forbidden: User "system:serviceaccount:tacho-system:tacho" cannot create resource '
            '"services" in API group "" in the namespace "ml"',
            "AdmissionDenied",
        ),
        (
            'Internal error occurred: failed calling webhook "w.example": failed to call webhook: EOF',
            "AdmissionUnavailable",
        ),
        (
            'admission webhook "a.example" denied the request: failed calling webhook "b.example": EOF',
            "AdmissionDenied",
        ),
        ('admission webhook "policy.example" denied the request: no', "AdmissionDenied"),
        (
            'services "x" is forbidden: unable to create new content in namespace ml because it is being '
            "terminated",
            "NamespaceTerminating",
        ),
        (
            'Pod "x" is invalid: spec.volumes[1]: Required value: must specify a volume type',
            "InvalidConfig",
        ),
    ],
)
def test_who_refused(text: str, reason: str) -> None:
    found = refusal_problem(text)
    assert found.reason == reason
    assert text in found.message
    assert ("roles of its chart" in found.message) == ("cannot create" in text)
    assert ("namespace is being deleted" in found.message) == ("terminated" in text)


@pytest.mark.parametrize(
    ("text", "invalid", "advice"),
    [
        ("minimum cpu usage per Container is 100m, but request is 50m", False, "Change it: in spec only"),
        ("maximum memory usage per Pod is 1Gi, but limit is 2Gi", False, "(engine.resources)"),
        (
            "memory max limit to request ratio per Container is 1, but provided ratio is 8.000000",
            False,
            "A LimitRange of the namespace refuses a pod.",
        ),
        ("failed quota: q: must specify limits.cpu for: engine,inject", False, "Create a LimitRange with"),
        (
            'Pod "x" is invalid: spec.containers[0].resources.requests: Invalid value: "250m": '
            "must be less than or equal to cpu limit of 100m",
            True,
            "Correct spec.engine.resources, or the default of the namespace's LimitRange",
        ),
        (
            'Pod "x" is invalid: spec.initContainers[0].resources.requests: Invalid value: "250m": '
            "must be less than or equal to cpu limit of 100m",
            True,
            "Correct the default of the namespace's LimitRange.",
        ),
        (
            "Pod is invalid: ["
            'spec.initContainers[0].resources.requests: Invalid value: "250m": must be less than or equal to '
            'cpu limit of 100m, spec.containers[0].resources.requests: Invalid value: "250m": must be less '
            "than or equal to cpu limit of 100m]",
            True,
            "Correct spec.engine.resources, or the default of the namespace's LimitRange",
        ),
    ],
)
def test_what_a_namespace_says_of_amounts_has_its_own_advice(text: str, invalid: bool, advice: str) -> None:
    """The containers of tacho have amounts that spec does not set, so advice to change spec led nowhere."""
    words = text if invalid else f'pods "x-inspect-1" is forbidden: {text}'
    found = refusal_problem(words, invalid=invalid)
    assert advice in found.message
    assert words in found.message


@pytest.mark.parametrize(
    "text",
    [
        'admission webhook "w" denied the request: container <inject> must specify cpu limits',
        'admission webhook "w" denied the request: maximum cpu usage per Container is 2',
    ],
)
def test_words_of_a_policy_are_neither_a_quota_nor_a_limit_range(text: str) -> None:
    found = refusal_problem(text)
    assert found.reason == FailureClass.ADMISSION_DENIED
    assert found.next_step == "Change spec, or the namespace's policy."


@pytest.mark.parametrize("invalid", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)",
        "Request entity too large: limit is 3145728",
        'ConfigMap "smol-facts" is invalid: []: Too long: may not be more than 1048576 bytes',
    ],
)
def test_whoever_finds_an_object_too_large_it_is_one_problem(text: str, invalid: bool) -> None:
    found = refusal_problem(text, invalid=invalid)
    assert found.reason == "InvalidConfig"
    assert (found.what, found.next_step) == ("An object is too large for the API server.", "Shorten spec.")
    assert text in found.message


def test_annotations_that_are_too_long_are_a_field_with_a_name() -> None:
    place = "spec.template.annotations"
    text = f'Deployment.apps "smol-1" is invalid: {place}: Too long: may not be more than 262144 bytes'
    found = refusal_problem(text, invalid=True)
    assert (found.reason, found.what) == ("InvalidConfig", f"The API server refuses a field: {place}.")


def test_a_field_that_the_definition_lacks_is_no_field_of_the_spec() -> None:
    """So a status is refused where the CRD is older than the operator, and a child where others wrote it."""
    schema = "failed to create typed patch object (ml/a; tacho.dev/v1alpha1, Kind=LLMDeployment): errors:\n"
    found = refusal_problem(f"status: {schema}  .status.a: field not declared in schema", invalid=True)
    assert found.next_step == "Install the CRD of this operator's version."
    assert found.what == "The API server refuses a field: status.a.", "the first of several"
    child = 'Service/a: Service "a" is invalid: spec.ports[1].name: Duplicate value: "http"'
    found = refusal_problem(child, invalid=True)
    assert (found.what, "or in the object" in found.next_step) == (
        "The API server refuses a field: spec.ports[1].name.",
        True,
    )


def test_a_refused_pod_is_found_on_the_replica_set_of_its_revision_only() -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    owner = {
        "metadata": {"name": "a-1", "labels": {"tacho.dev/revision": "a"}},
        "status": {"conditions": [failed]},
    }
    assert creation_refused((owner,), (), "a") is not None
    found = creation_refused((), (owner,), "a")
    assert found is not None
    assert "rollout restart" not in found.message, "Kubernetes tries to make a pod for ever"
    assert creation_refused((), (owner,), "b") is None


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "ReplicaFailure", "status": "False", "message": "exceeded quota"},
        {"type": "Progressing", "status": "True", "message": "exceeded quota"},
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"},
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetCreateError", "message": "is over"},
    ],
)
def test_a_condition_that_refuses_nothing_is_no_refusal(condition: dict[str, str]) -> None:
    silent = {"metadata": {"name": "a-0", "labels": {"tacho.dev/revision": "a"}}}
    owner = {**silent, "status": {"conditions": [condition]}}
    assert creation_refused((silent,), (owner, {"metadata": {"name": "b-1"}}), "a") is None


def test_a_refusal_behind_other_conditions_and_owners_is_found() -> None:
    labels = {"tacho.dev/revision": "a"}
    progressing = {"type": "Progressing", "status": "True"}
    failed = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"}
    sets = (
        {"metadata": {"name": "b-1"}, "status": {"conditions": [failed]}},
        {"metadata": {"name": "a-0", "labels": labels}, "status": {"conditions": [progressing]}},
        {"metadata": {"name": "a-1", "labels": labels}, "status": {"conditions": [progressing, failed]}},
    )
    found = creation_refused((), sets, "a")
    assert found is not None
    assert (found.reason, "exceeded quota: compute" in found.message) == ("QuotaExceeded", True)


def test_a_replica_set_that_is_refused_is_told_as_its_pods_are() -> None:
    """No pod and no ReplicaSet shows it, and the status said that pods are being created."""
    refusal = 'replicasets.apps "a-1" is forbidden: exceeded quota: few'
    owner = {
        "metadata": {"name": "a", "labels": {"tacho.dev/revision": "a"}},
        "status": {
            "conditions": [
                {
                    "type": "Progressing",
                    "status": "False",
                    "reason": "ReplicaSetCreateError",
                    "message": f'Failed to create new replica set "a-1": {refusal}',
                }
            ]
        },
    }
    found = creation_refused((owner,), (), "a")
    assert found is not None
    assert (found.reason, found.quotation) == ("QuotaExceeded", refusal)
    assert "kubectl rollout restart deployment/a." in found.message, "Kubernetes does not try for ever"


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", '{"failureClass":1}', "null", "[" * 5000])
def test_a_termination_message_that_is_no_failure_is_none(text: str) -> None:
    assert parse_failure(text) is None


@pytest.mark.parametrize(
    ("message", "next_step", "read"),
    [
        ("it broke", "look at it", "it broke. From It. Look at it."),
        ("It broke.", "Look at it!", "It broke. From It. Look at it!"),
        ("It broke…", "Look.", "It broke… From It. Look."),
    ],
)
def test_what_happened_and_what_to_do_are_sentences_of_their_own(
    message: str, next_step: str, read: str
) -> None:
    failure = Failure(failure_class="EngineCrashed", message=message, next_step=next_step)
    assert from_failure(failure, "It").message == read


def test_a_failure_that_says_nothing_is_told_by_its_class() -> None:
    kind = FAILURE_KINDS[FailureClass.GPU_FAULT]
    found = from_failure(Failure(failure_class="GPUFault", message="", next_step=" "), "It")
    assert found.message == f"{kind.meaning} From It. {kind.next_step}"


@pytest.mark.parametrize("word", ["Serving", "Settled", "", "lower", "{}"])
def test_no_failure_is_called_by_a_word_that_says_all_is_well(word: str) -> None:
    found = from_failure(Failure(failure_class=word, message="It broke.", next_step="Look."))
    assert found.reason == "EngineCrashed"


@pytest.mark.parametrize(
    "text", [" typed patch object (", " is invalid: [", "cannot x", "denied ", "Pod a was using b"]
)
def test_a_refusal_of_a_megabyte_is_read_in_proportion(text: str) -> None:
    """A policy repeats a user's image in the status of a ReplicaSet: 400 KB took 4.6 s, a megabyte 29 s."""
    began = time.process_time()
    assert refusal_problem(text * (400_000 // len(text))).reason
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("unowned", "owner", "step"),
    [
        (False, "another owner", "Delete that Service, or rename this resource."),
        (
            True,
            "no owner",
            "Delete that Service, put its owner reference to this resource back, or rename this resource.",
        ),
    ],
)
def test_a_name_that_is_taken_says_whose_it_is(unowned: bool, owner: str, step: str) -> None:
    found = refused_child(ChildRefusal(kind="Service", name="smol", taken=True, unowned=unowned))
    assert (found.reason, found.next_step) == ("NameConflict", step)
    assert found.what == f"Service smol exists in this namespace and has {owner}."
