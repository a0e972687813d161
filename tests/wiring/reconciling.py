"""A reconciler with a server, a store and plans of its own, for tests."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import CollectorRegistry

from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.types import PlanResult
from tacho_operator.core.types import Observed, PlanInputs, RuntimeImage
from tacho_operator.shell.api_errors import ApiError, Forbidden
from tacho_operator.shell.kube import KINDS, Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.plans import Plans
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.reconcile import DecisionSources, Reconciler
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CONFIG, NOW, facts
from tools.harness.world import World

KEY = Key("ml", "smol")


class Server:
    """Takes everything but the status, while it is told to refuse it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.created: list[str] = []
        self.applied: list[str] = []
        self.status: dict[str, Any] = {}
        self.refuses = True
        self.status_error = ApiError(503, "overloaded")
        self.forbids = ""
        self.forbids_changes = False
        """Of that kind too, not its creation alone."""
        self.refused = 0
        self.error: ApiError = Forbidden(403, "exceeded quota: q")
        self.tried: list[str] = []
        self.refuses_trial_of = ""
        self.observed = 0
        """How often it was observed."""
        self.deleted: list[str] = []
        self.fails = False
        """Whether it can be read."""
        self.gets = 0
        self.owner_deleted = False
        self.gone = False
        """Whether the store knows of its deletion."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert kind == "LLMDeployment"
        self.gets += 1
        return None if self.owner_deleted else self._world.raw

    async def observe(self, key: Key) -> Observed | None:
        self.observed += 1
        if self.fails:
            raise ApiError(0, "no answer")
        return None if self.gone else self._world.observed()

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == self.forbids:
            self.refused += 1
            raise self.error
        self.created.append(manifest["kind"])
        return written(manifest)

    async def try_create(self, manifest: dict[str, Any]) -> None:
        self.tried.append(manifest["kind"])
        if manifest["kind"] == self.refuses_trial_of:
            raise self.error

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str = "") -> None:
        assert kind == "Pod", "nothing but the inspect pod has had its time"
        self.deleted.append(name)

    async def apply(
        self, manifest: dict[str, Any], *, uid: str, subresource: str = "", manager: str = ""
    ) -> dict[str, Any]:
        assert uid
        if subresource == "status" and self.refuses:
            raise self.status_error
        if self.forbids_changes and manifest["kind"] == self.forbids:
            raise self.error
        self.applied.append(manifest["kind"])
        self.status = manifest.get("status", self.status)
        return written(manifest)


class Ordered(Server):
    """Keeps each status that was written, and all writes in their order."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.refuses = False
        self.order: list[str] = []
        self.statuses: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.mark_error: ApiError | None = None
        """The answer to an annotation of a pod."""

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.order.append(manifest["kind"])
        self.events += [manifest] if manifest["kind"] == "Event" else []
        return await super().create(manifest)

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        self.order.append(manifest["kind"])
        found = await super().apply(manifest, **options)
        self.statuses.append(self.status)
        return found

    async def annotate(self, live: dict[str, Any], _annotations: dict[str, str]) -> dict[str, Any]:
        self.order.append("annotation")
        if self.mark_error is not None:
            raise self.mark_error
        return written(live)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str = "") -> None:
        self.order.append("deletion")
        await super().delete(kind, namespace, name, uid=uid, version=version)

    def of(self, type_: str) -> list[tuple[str, str]]:
        """What each status said of a condition, and since when."""
        found = (item for status in self.statuses for item in status["conditions"] if item["type"] == type_)
        return [(item["status"], item["lastTransitionTime"]) for item in found]


def written(manifest: dict[str, Any]) -> dict[str, Any]:
    """As the API server answers."""
    return {**manifest, "metadata": {"uid": "u", **manifest["metadata"], "resourceVersion": "7"}}


def store_at(version: str) -> Store:
    """Whose streams have all brought that version."""
    store = Store(lambda change: None)
    for kind in KINDS:
        store.at(kind, "", version)
    return store


class Unscaled:
    """Nothing is scaled by tacho."""

    def observed(self, key: Key, observed: Observed) -> Observed:
        return observed

    def follow(self, key: Key, observed: Observed, status: object) -> None: ...

    def unread(self, key: Key) -> None: ...

    def forget(self, key: Key) -> None: ...


class PlansAtOnce:
    """Every plan is there; or none is, while it is ``slow``."""

    slow = False

    def answer(self, key: Key, inputs: PlanInputs) -> PlanResult | None:
        return None if self.slow else plan_of(inputs)

    def forget(self, key: Key) -> None: ...


async def as_configured() -> RuntimeImage:
    return RuntimeImage(image=CONFIG.tacho_image)


def reconciler(
    server: Server,
    store: Store | None = None,
    plans: PlansAtOnce | None = None,
    turns: ProbeTurns | None = None,
) -> Reconciler:
    return Reconciler(
        kube=cast(Kube, server),
        store=store or store_at("7"),
        sources=DecisionSources(
            observer=cast(Observer, server),
            scaler=cast(Scaler, Unscaled()),
            plans=cast(Plans, plans or PlansAtOnce()),
            probe_turns=turns or ProbeTurns(8, Store(lambda _: None), call=lambda key: None),
            own_image=as_configured,
        ),
        config=CONFIG,
        metrics=Metrics(CollectorRegistry()),
        clock=lambda: NOW,
    )


def inspected_world() -> World:
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    return world


def conditions(server: Server) -> dict[str, tuple[str, str, str]]:
    found = server.status["conditions"]
    return {item["type"]: (item["status"], item["reason"], item["message"]) for item in found}
