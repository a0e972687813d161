"""The checks of ``tacho doctor``: from the objects of a cluster to findings. Pure.

A check of objects that the user may not read is ``unknown``, with the missing right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tacho_cli.doctor.findings import Facts, Finding, Result, State, UnreadError
from tacho_cli.doctor.nodes import check_drivers, check_gpus, check_mig, check_nodes
from tacho_operator.api.base import parse_quantity
from tacho_operator.api.defaults import GPU_RESOURCE
from tacho_operator.core.autoscaling.status_view import RECOMMEND
from tacho_operator.core.pods.claims import MANY

LLMDEPLOYMENTS = "llmdeployments.tacho.dev"
OPERATORS = "deployments"
MONITORS = "servicemonitors.monitoring.coreos.com"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""Annotation of a claim whose volume the scheduler has requested, for a pod that it places."""
NEVER_USED = ("services.loadbalancers", "services.nodeports")
"""Keys of quotas, often 0, that count no object of tacho."""
ONE_NODE = (
    "rancher.io/local-path", "kubernetes.io/no-provisioner", "ebs.csi.aws.com", "pd.csi.storage.gke.io",
    "disk.csi.azure.com", "topolvm.io", "openebs.io/local", "cinder.csi.openstack.org",
)  # fmt: skip
"""Provisioners whose volumes only one node can mount at a time (ReadWriteOnce)."""


def diagnosis(facts: Facts) -> list[Finding]:
    """All findings, in the order of the checks."""
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += (
                Finding(check=name, state=state, message=message, next_step=step)
                for state, message, step in check(facts)
            )
        except UnreadError as error:
            step = "Ask for that right, or have a cluster administrator run tacho doctor."
            found.append(Finding(check=name, state="unknown", message=str(error), next_step=step))
    return found


def check_operator(facts: Facts) -> Iterator[Result]:
    if facts.known(LLMDEPLOYMENTS) is None:
        yield "fail", "The cluster has no LLMDeployments.", "Install the chart, with crds.install."
        return
    operators = facts.all_of(OPERATORS)
    if not operators:
        yield (
            "fail",
            "No operator is installed.",
            "Install the chart; docs/start/your-cluster.md has the command.",
        )
    for item in operators:
        space, own = _place(item)
        name = f"{space}/{own}"
        ready = (item.get("status") or {}).get("readyReplicas", 0)
        desired = (item.get("spec") or {}).get("replicas", 1)
        step = "" if ready else f"kubectl describe deployment {own} -n {space}, and its pods' logs."
        yield ("ok" if ready else "fail"), f"Operator {name}: {ready} of {desired} pods are ready.", step


def check_storage(facts: Facts) -> Iterator[Result]:
    classes = facts.all_of("storageclasses")
    marks = [item["metadata"].get("annotations") or {} for item in classes]
    defaults = [mark for mark in marks if mark.get(DEFAULT_CLASS) == "true"]
    if not classes:
        yield "warn", "The cluster has no StorageClass.", "Install a provisioner, or bind claims by hand."
    elif not defaults:
        step = f"Name one in each claim, or annotate one with {DEFAULT_CLASS}=true."
        yield "warn", "No StorageClass is the default.", step
    for item in classes:
        single = item.get("provisioner", "") in ONE_NODE
        text = f"StorageClass {item['metadata']['name']} ({item.get('provisioner', '')})"
        mark = ", the default" if item in defaults else ""
        if single:
            step = "Replicas on several nodes need another class for their claim, such as NFS."
            yield "ok", f"{text}{mark}: one node mounts its volumes (ReadWriteOnce).", step
        else:
            yield "ok", f"{text}{mark}.", ""


def check_claims(facts: Facts) -> Iterator[Result]:
    claims = {_place(item): item for item in facts.all_of("persistentvolumeclaims")}
    resources = facts.all_of(LLMDEPLOYMENTS)
    if not any(_claims(raw.get("spec") or {}) for raw in resources):
        yield "ok", "No LLMDeployment names a claim.", ""
    for raw in resources:
        space, name = _place(raw)
        for claim in _claims(raw.get("spec") or {}):
            found = claims.get((space, claim))
            text = f"Claim {claim} of LLMDeployment {name}"
            if found is None:
                yield "fail", f"{text} does not exist in {space}.", "Create it, or correct its name in spec."
                continue
            phase = (found.get("status") or {}).get("phase", "")
            modes = set((found.get("spec") or {}).get("accessModes") or ())
            if phase == "Pending" and _waits_for_a_pod(facts, found):
                yield "ok", f"{text} is Pending: its StorageClass waits for the first pod that mounts it.", ""
            elif phase != "Bound":
                step = f"kubectl describe pvc {claim} -n {space} has the provisioner's events."
                yield "warn", f"{text} is {phase or 'not bound'}.", step
            elif _most_replicas(raw["spec"]) > 1 and not modes & MANY:
                step = "Use a claim with ReadWriteMany, or keep the pods on one node."
                yield "warn", f"{text} is {', '.join(sorted(modes))}, for several replicas.", step
            else:
                yield "ok", f"{text} is bound ({', '.join(sorted(modes))}).", ""


def _waits_for_a_pod(facts: Facts, claim: Mapping[str, Any]) -> bool:
    """Whether the claim is bound when a pod that mounts it is scheduled: until then nothing is wrong."""
    named = (claim.get("spec") or {}).get("storageClassName")
    if SELECTED_NODE in (claim["metadata"].get("annotations") or {}):
        return False  # A pod is placed: the provisioner has no volume yet.
    try:
        classes = facts.all_of("storageclasses")
    except UnreadError:  # a right of its own, and for all of the cluster
        return False
    mine = [item for item in classes if item["metadata"]["name"] == named]
    return any(item.get("volumeBindingMode") == "WaitForFirstConsumer" for item in mine)


def _most_replicas(spec: Mapping[str, Any]) -> int:
    """The most replicas that may run: the scaler's maximum, or ``replicas`` where it does not decide."""
    autoscaling = spec.get("autoscaling") or {}
    enforced = autoscaling and autoscaling.get("mode") != RECOMMEND
    return int((autoscaling.get("maxReplicas") if enforced else spec.get("replicas")) or 1)


def _claims(spec: Mapping[str, Any]) -> list[str]:
    """Names of the PersistentVolumeClaims for the model and the cache."""
    uri = str((spec.get("model") or {}).get("uri", ""))
    cache = ((spec.get("cache") or {}).get("persistentVolumeClaim") or {}).get("claimName", "")
    model = uri.removeprefix("pvc://").partition("/")[0] if uri.startswith("pvc://") else ""
    return [claim for claim in dict.fromkeys((model, cache)) if claim]


def check_quotas(facts: Facts) -> Iterator[Result]:
    quotas = facts.all_of("resourcequotas")
    if not quotas:
        yield "ok", "No ResourceQuota limits the namespace.", ""
    for item in quotas:
        space, name = _place(item)
        status = item.get("status") or {}
        used, hard = status.get("used") or {}, status.get("hard") or {}
        full = [
            f"{key} {used.get(key, 0)} of {limit}"
            for key, limit in hard.items()
            if key not in NEVER_USED and _full(used, key, limit)
        ]
        text = f"Quota {name} of {space}"
        if full:
            state: State = "fail" if any(GPU_RESOURCE in entry for entry in full) else "warn"
            step = "Raise the quota, or delete what uses it: pods are refused as QuotaExceeded."
            yield state, f"{text} is used up: {', '.join(full)}.", step
        else:
            yield "ok", f"{text} has room.", ""


def _full(used: Mapping[str, Any], key: str, limit: object) -> bool:
    try:
        return parse_quantity(str(used.get(key, 0))) >= parse_quantity(str(limit))
    except ValueError:
        return False


def check_prometheus(facts: Facts) -> Iterator[Result]:
    found = facts.known(MONITORS)
    if found is None:
        step = "Install it, or take rules and jobs for a Prometheus of your own from docs/operate/watch.md."
        yield "warn", "The cluster has no ServiceMonitors: no Prometheus operator.", step
    elif not found:
        step = "Set serviceMonitor.enabled in the chart; docs/operate/watch.md has the rest."
        yield "warn", "No ServiceMonitor selects tacho.", step
    else:
        yield "ok", f"ServiceMonitor {', '.join('/'.join(_place(item)) for item in found)}.", ""


def check_rights(facts: Facts) -> Iterator[Result]:
    missing = [right for right, allowed in facts.rights.items() if not allowed]
    if missing:
        step = (
            "Ask for the role edit in that namespace; the chart's rbac.aggregate adds LLMDeployments to it."
        )
        yield "warn", f"You may not: {', '.join(missing)}.", step
    else:
        yield "ok", f"You may: {', '.join(facts.rights)}.", ""


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


CHECKS: dict[str, Callable[[Facts], Iterator[Result]]] = {
    "operator": check_operator,
    "nodes": check_nodes,
    "GPUs": check_gpus,
    "driver": check_drivers,
    "MIG": check_mig,
    "storage": check_storage,
    "claims": check_claims,
    "quota": check_quotas,
    "Prometheus": check_prometheus,
    "rights": check_rights,
}
