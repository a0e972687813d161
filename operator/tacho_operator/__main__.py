"""Starts the operator: reads the settings, and connects client, store, queue and kopf. It decides nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from pythonjsonlogger.json import JsonFormatter

from tacho_contract import __version__
from tacho_contract.text import LINES, VisibleFormatter, visible
from tacho_operator.config import Settings, SettingsError, load_settings
from tacho_operator.core.election import Candidate
from tacho_operator.shell.api_errors import requested_pause_seconds
from tacho_operator.shell.fleet import (
    ChangeRouter,
    Sizes,
    begin_anew,
    hanging,
    led_and_in_sync,
    priority,
    reflectors,
    resync,
    where_in_sync,
)
from tacho_operator.shell.handlers import KopfRunner, supervised
from tacho_operator.shell.http_server import Answers, http_server
from tacho_operator.shell.kube import Kube, connect
from tacho_operator.shell.lease import Elector, LeasePlace
from tacho_operator.shell.loads import Loads
from tacho_operator.shell.log_context import log_fields
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer, utc_now
from tacho_operator.shell.own_image import own_image
from tacho_operator.shell.plans import Plans
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.reconcile import DecisionSources, Reconciler
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue

logger = logging.getLogger("tacho_operator")

CHATTY_LOGGERS = (
    "httpx",
    "httpcore",
    "aiohttp.access",
    "kopf.objects",  # a line an event
    "kopf.activities",
    "kopf._core.engines.activities",  # lines every ten minutes, at each login
)
REPEATED_LOGGERS = ("kopf._cogs", "kopf._core")
"""Lines of each try of a request, and a traceback of each failure, which its supervisor logs once."""
TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON_FIELDS = (
    "timestamp",
    "severity",
    "logger",
    "object",
    "uid",
    "reconcile_id",
    "message",
    "exc_info",
)
"""Keys of a JSON log line, in order. Those of the resource and its reconcile are present where known; kopf's
records have more.
"""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the operator until ``stop`` is set, or until one of its parts fails: then that error is raised."""
    metrics = Metrics(CollectorRegistry())
    router = ChangeRouter()
    store = Store(router)
    async with clients(settings, metrics) as (kube, lease_kube), aclosing(PodClient()) as pods:
        sources = decision_sources(settings, kube, pods, store, metrics, lambda key: queue.add(key))
        scaler, plans = sources.scaler, sources.plans
        reconciler = Reconciler(
            kube=kube,
            store=store,
            sources=sources,
            config=settings.decisions,
            metrics=metrics,
            clock=utc_now,
        )
        streams = reflectors(kube, store, settings.watch_namespaces, metrics.reconnect)
        elector = lease_elector(settings, lease_kube, utc_now, partial(begin_anew, streams))
        metrics.leader.set_function(elector.leads)
        queue = WorkQueue(
            where_in_sync(store, reconciler),
            workers=settings.workers,
            priority=lambda key: priority(store, key),
            gate=partial(led_and_in_sync, elector, store, settings.watch_namespaces),
            requested_pause_seconds=requested_pause_seconds,
        )
        router.connect(store, queue)
        runner = KopfRunner(
            kubeconfig=settings.kubeconfig,
            take_signals=partial(take_signals, stop),
            skipped=metrics.skipped,
        )
        metrics.registry.register(Sizes(store, queue, streams))
        ProcessCollector(registry=metrics.registry)
        answers = Answers(
            registry=metrics.registry,
            latest=scaler.latest,
            scraped=scaler.scraped,
            hanging=partial(hanging, elector, store, queue, settings.watch_namespaces),
            stale=lambda: (*store.stale(), *elector.unauthorized()),
            leader_address=elector.leader_address,
        )
        ports = (settings.metrics_port, settings.readiness_port, settings.health_port)
        async with http_server(answers, ports):
            parts = {
                "leader election": elector.run(),
                "workers": queue.run(),
                "events": reconciler.events.run(),
                "scaler": scaler.run(),
                "plans": plans.run(),
                "GPU time": metrics.gpu_time.run(scaler.idle, settings.scaling_period_seconds),
                "resync": resync(store, queue, settings.resync_seconds),
            }
            parts |= {f"watching {stream.kind} {stream.namespace}": stream.run() for stream in streams}
            for namespace in settings.watch_namespaces or ("",):
                watch = partial(kopf_events, runner, store, namespace, router)
                parts[f"kopf {namespace}"] = supervised(f"watch {namespace}".strip(), watch)
            await _run_together(parts, stop)


@asynccontextmanager
async def clients(settings: Settings, metrics: Metrics) -> AsyncIterator[tuple[Kube, Kube]]:
    """The common client of the API server, and the elector's.

    Where the network drops connections silently, each idle one costs the next request its whole timeout. Of
    a common pool the elector would meet several, one after the other.
    """
    async with (
        connect(settings.kubeconfig, metrics.request, metrics.skipped) as kube,
        connect(settings.kubeconfig, metrics.request) as lease_kube,
    ):
        yield kube, lease_kube


def decision_sources(
    settings: Settings,
    kube: Kube,
    pods: PodClient,
    store: Store,
    metrics: Metrics,
    late: Callable[[Key], None],
) -> DecisionSources:
    """What decisions are made from. ``late`` is called with a resource that has to be decided again."""
    config = settings.decisions
    return DecisionSources(
        observer=Observer(store, Reports(pods, late=late, counted=metrics.report)),
        scaler=Scaler(
            Loads(pods),
            period_seconds=settings.scaling_period_seconds,
            call=late,
            sink=ScalingMetrics(metrics.registry),
            is_stale=store.is_stale,
        ),
        plans=Plans(late=late, metrics=metrics),
        probe_turns=ProbeTurns(settings.max_probe_pods, store, call=late),
        own_image=partial(own_image, kube, config.tacho_image, config.operator_namespace, settings.pod_name),
    )


async def kopf_events(runner: KopfRunner, store: Store, namespace: str, router: ChangeRouter) -> None:
    """Runs kopf's watch of a namespace, or of all (""), once the API server is known to have the kind."""
    while store.is_lost("LLMDeployment", namespace):
        await store.changed()
    await runner.watch(namespace, router.noticed)


def lease_elector(
    settings: Settings,
    kube: Kube,
    clock: Callable[[], datetime],
    on_answer_again: Callable[[float], object],
) -> Elector:
    """The leader election of this process. Outside a pod it has a new random identity at each start."""
    namespace = settings.decisions.operator_namespace
    host = f"[{settings.pod_address}]" if ":" in settings.pod_address else settings.pod_address
    return Elector(
        kube,
        Candidate(
            identity=settings.pod_name or f"{os.uname().nodename}-{uuid.uuid4().hex[:8]}",
            address=f"{host}:{settings.metrics_port}" if host else "",
        ),
        LeasePlace(
            namespace=namespace,
            name=settings.lease_name,
            trial_namespace=(*settings.watch_namespaces, namespace)[0],
        ),
        clock=clock,
        on_answer_again=on_answer_again,
    )


async def _run_together(parts: Mapping[str, Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """Runs all parts until ``stop`` is set. If one part ends, all others are cancelled."""
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if stopping not in done:
            raise RuntimeError(f"{', '.join(task.get_name() for task in done)} ended without an error")
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)


class LogFormatter(JsonFormatter):
    """Formats each log record as one JSON object: ``JSON_FIELDS``, severity in lower case, timestamp in
    UTC."""

    def __init__(self) -> None:
        renamed = {"levelname": "severity", "name": "logger"}
        super().__init__(["levelname", "name", "message"], rename_fields=renamed, timestamp=True)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        moment: datetime = log_data["timestamp"]
        log_data["timestamp"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["severity"] = log_data["severity"].lower()
        log_data = {**log_fields(), **log_data}
        kept = {"exc_info": LINES}
        # Of a library's record any field may be of any type.
        found = {key: log_data[key] for key in JSON_FIELDS if log_data.get(key) is not None}
        return {key: visible(str(value), kept.get(key, "")) for key, value in found.items()}


def configure_logging(level: str, *, as_json: bool) -> None:
    """Sends log records to stderr, one line each; of verbose libraries, warnings and errors only."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter() if as_json else VisibleFormatter(TEXT_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in CHATTY_LOGGERS:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    for repeated in REPEATED_LOGGERS:
        logging.getLogger(repeated).setLevel(level if level == "DEBUG" else logging.CRITICAL)


def take_signals(stop: asyncio.Event) -> None:
    """Makes SIGTERM and SIGINT set ``stop``."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    take_signals(stop)
    logger.info(
        "tacho %s, watching %s", __version__, ", ".join(settings.watch_namespaces) or "every namespace"
    )
    await serve(settings, stop)


def main() -> int:
    """Runs the operator. Exit code 0 after a signal, 1 when a part failed (the kubelet restarts it), 2 for a
    wrong setting."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        print(f"tacho: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level, as_json=settings.log_json)
    try:
        asyncio.run(_main(settings))
    except Exception:
        logger.exception("the operator stops because a part of it failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
