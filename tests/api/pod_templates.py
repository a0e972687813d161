"""Strategies for what spec passes on to a pod: mostly right, at times slightly wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Drawn = SearchStrategy[Any]


IS_RIGHT = st.integers(0, 19).map(lambda chance: chance != 11)
"""Mostly true. Neither end of the range decides: Hypothesis draws the ends often, and shrinks towards one."""


def mostly(right: list[Any], *wrong: Any) -> Drawn:
    """Mostly one of ``right``."""
    return IS_RIGHT.flatmap(lambda is_right: st.sampled_from(right if is_right or not wrong else list(wrong)))


def mostly_without(has_fault: Callable[[Any], bool], drawn: Drawn) -> Drawn:
    """Mostly one of ``drawn`` that is not refused for how its parts go together."""
    return IS_RIGHT.flatmap(lambda is_right: drawn.filter(lambda one: not (is_right and has_fault(one))))


def fields(required: dict[str, Drawn], **optional: Drawn) -> Drawn:
    """An object with the required fields and some of the others."""
    return st.fixed_dictionaries(required, optional=optional)


KEYS = mostly(
    ["team", "example.com/team", "A_b.c", "x" * 63, "a.b-c.example/x_1"],
    "a b", "a/b/c", "-x", "x-", "Upper.example/x", "/x", "x/", "x" * 64, "a..b/c", "é",
)  # fmt: skip
VALUES = mostly(["", "search", "A_b.c", "x" * 63], "a b", "-x", "x" * 64)
COUNTS = mostly([1, 2, 60], 0)
LABELS = st.dictionaries(KEYS, VALUES, max_size=2)
EXPRESSIONS = st.lists(
    fields(
        {"key": KEYS, "operator": mostly(["In", "NotIn"], "Exists", "DoesNotExist")},
        values=mostly([["a"], ["a", "b"]], [], ["a b"]),
    )
    | fields({"key": KEYS, "operator": mostly(["Exists", "DoesNotExist"], "In")}),
    max_size=2,
)
SELECTORS = fields({}, matchLabels=LABELS, matchExpressions=EXPRESSIONS)
NODE_TERMS = fields(
    {},
    matchExpressions=EXPRESSIONS
    | st.lists(
        fields(
            {
                "key": KEYS,
                "operator": st.sampled_from(["Gt", "Lt"]),
                "values": mostly([["1"]], ["a"], ["1", "2"], []),
            }
        ),
        max_size=1,
    ),
    matchFields=st.lists(
        st.fixed_dictionaries(
            {
                "key": mostly(["metadata.name"], "metadata.uid"),
                "operator": mostly(["In", "NotIn"], "Exists"),
                "values": mostly([["node-1"]], ["a", "b"], []),
            }
        ),
        max_size=1,
    ),
)
POD_TERMS = fields(
    {"topologyKey": KEYS},
    labelSelector=SELECTORS,
    namespaces=st.lists(mostly(["ml"], "A b"), max_size=1),
    namespaceSelector=SELECTORS,
    matchLabelKeys=st.lists(mostly(["pod-template-hash"], "a b"), max_size=1),
    mismatchLabelKeys=st.lists(mostly(["pod-template-hash"], "a b"), max_size=1),
)


def has_repeated(*names: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether two objects of a list have the same values in these fields."""

    def has(drawn: list[dict[str, Any]]) -> bool:
        return len({tuple(one[name] for name in names) for one in drawn}) < len(drawn)

    return has


def _terms(term: Drawn, weighted: str) -> dict[str, Drawn]:
    weights = st.fixed_dictionaries({"weight": mostly([1, 100], 0), weighted: term})
    return {"preferredDuringSchedulingIgnoredDuringExecution": st.lists(weights, max_size=1)}


NEAR = fields(
    {},
    requiredDuringSchedulingIgnoredDuringExecution=st.lists(POD_TERMS, max_size=2),
    **_terms(POD_TERMS, "podAffinityTerm"),
)
AFFINITY = fields(
    {},
    nodeAffinity=fields(
        {},
        requiredDuringSchedulingIgnoredDuringExecution=st.fixed_dictionaries(
            {"nodeSelectorTerms": st.lists(NODE_TERMS, min_size=1, max_size=2)}
        ),
        **_terms(NODE_TERMS, "preference"),
    ),
    podAffinity=NEAR,
    podAntiAffinity=NEAR,
)
TOLERATIONS = mostly_without(
    lambda drawn: (
        (drawn["operator"] == "Exists" and drawn.get("value"))
        or ("tolerationSeconds" in drawn and drawn.get("effect") != "NoExecute")
    ),
    fields(
        {"key": KEYS, "operator": st.sampled_from(["Exists", "Equal"])},
        value=mostly(["", "true"], "a b"),
        effect=st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        tolerationSeconds=st.sampled_from([0, 30]),
    ),
)
SPREAD = mostly_without(
    lambda drawn: "minDomains" in drawn and drawn["whenUnsatisfiable"] != "DoNotSchedule",
    fields(
        {
            "maxSkew": COUNTS,
            "topologyKey": mostly(["zone", "kubernetes.io/hostname"], "a b"),
            "whenUnsatisfiable": st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
        },
        labelSelector=SELECTORS,
        minDomains=COUNTS,
        nodeAffinityPolicy=st.sampled_from(["Honor", "Ignore"]),
        nodeTaintsPolicy=st.sampled_from(["Honor", "Ignore"]),
        matchLabelKeys=st.lists(mostly(["pod-template-hash"], "a b"), max_size=2),
    ),
)
PATHS = mostly(["a", "a/b", "..a"], "../a", "/a", "a/../b", "a:b")
ITEMS = st.lists(
    fields({"key": mostly(["a.txt", "_B"], "a b"), "path": PATHS}, mode=mostly([0, 0o777], 0o1000)),
    max_size=2,
)
MODES = mostly([0o644], 0o1000)
NAMES = mostly(["one", "two.three"], "A", "a..b", "-a")
SOURCES = st.one_of(
    fields({"name": NAMES}, items=ITEMS).map(lambda drawn: {"configMap": drawn}),
    fields({"name": NAMES}, items=ITEMS).map(lambda drawn: {"secret": drawn}),
    fields({"path": PATHS}, audience=st.just("vault"), expirationSeconds=mostly([600, 3600], 599)).map(
        lambda drawn: {"serviceAccountToken": drawn}
    ),
)
CONTENTS = st.one_of(
    fields({"name": NAMES}, items=ITEMS, defaultMode=MODES).map(lambda drawn: {"configMap": drawn}),
    fields({"secretName": NAMES}, items=ITEMS, defaultMode=MODES).map(lambda drawn: {"secret": drawn}),
    fields({}, medium=st.sampled_from(["", "Memory"]), sizeLimit=mostly(["1Gi", "0"], "1Zi")).map(
        lambda drawn: {"emptyDir": drawn}
    ),
    fields({"claimName": NAMES}, readOnly=st.booleans()).map(lambda drawn: {"persistentVolumeClaim": drawn}),
    fields({}, sources=st.lists(SOURCES, max_size=3), defaultMode=MODES).map(
        lambda drawn: {"projected": drawn}
    ),
)
VOLUMES = st.dictionaries(mostly(["scratch", "data", "x" * 63], "a.b", "A"), CONTENTS, max_size=3)
MOUNT_PATHS = mostly(
    ["/data", "/etc/engine", "/data/more", "/tmp/x"],
    "/tmp",
    "/dev/shm",
    "/tacho",
    "/data/../tacho",
    "/models/",
    "/a:b",
)
CLAIMS = mostly_without(
    has_repeated("name"),
    st.lists(
        st.fixed_dictionaries(
            {"name": mostly(["gpu", "nic"], "A"), "resourceClaimName": mostly(["one"], "A")}
        )
        | mostly([{"name": "gpu", "resourceClaimTemplateName": "two"}], {"name": "gpu"}),
        max_size=2,
    ),
)
AMOUNTS = mostly(["1", "2", "500m", "1Gi", "0"], "-1", "1.5", "1Zi")
RESOURCES = st.dictionaries(
    mostly(["cpu", "memory", "ephemeral-storage"], "hugepages-2Mi", "hugepages-", "nvidia.com/gpu"),
    AMOUNTS,
    max_size=3,
)
POD_SPECS = fields(
    {},
    nodeSelector=LABELS,
    tolerations=st.lists(TOLERATIONS, max_size=2),
    affinity=AFFINITY,
    topologySpreadConstraints=mostly_without(
        has_repeated("topologyKey", "whenUnsatisfiable"), st.lists(SPREAD, max_size=2)
    ),
    imagePullSecrets=mostly_without(
        has_repeated("name"), st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2)
    ),
    schedulerName=NAMES,
    terminationGracePeriodSeconds=mostly([30, 300], 0, 1),
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of spec that reach the pod as they are."""
    volumes, pod = draw(VOLUMES), draw(POD_SPECS)
    unique, taken = draw(IS_RIGHT), set[str]()
    mounts = [
        {"name": name, "mountPath": path, **({"subPath": draw(PATHS)} if draw(st.booleans()) else {})}
        for name in volumes
        for path in draw(st.lists(MOUNT_PATHS, max_size=2))
        if not (unique and (path in taken or taken.add(path)))
    ]
    claims = draw(CLAIMS)
    used = [{"name": claim["name"]} for claim in claims if draw(st.booleans())]
    resources = {"limits": draw(RESOURCES), "requests": draw(RESOURCES), "claims": used}
    pod |= {
        "volumes": [{"name": name, **content} for name, content in volumes.items()],
        "resourceClaims": claims,
    }
    metadata = draw(fields({}, labels=LABELS, annotations=st.dictionaries(KEYS, VALUES, max_size=2)))
    return {
        "engine": {"name": "llamacpp", "volumeMounts": mounts, "resources": resources},
        "podTemplate": {"metadata": metadata, "spec": pod},
    }
