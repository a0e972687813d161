"""Wiring only: settings, client, store, queue, kopf. The one place where the parts meet."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from tacho_contract import __version__
from tacho_operator.config import Settings, SettingsError, load_settings
from tacho_operator.shell.fleet import Sizes, hanging, in_sync, reflectors, where_in_sync
from tacho_operator.shell.frame import frame
from tacho_operator.shell.health import readiness_server
from tacho_operator.shell.kube import asked_pause_seconds, connect
from tacho_operator.shell.loads import Loads
from tacho_operator.shell.logs import configure_logging
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.metrics_server import metrics_server
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.reconcile import Reconciler
from tacho_operator.shell.reports import Reports, report_client
from tacho_operator.shell.resync import resync
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.scaling_metrics import ScalingMetrics
from tacho_operator.shell.series import Registry
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.wake import Waker, priority
from tacho_operator.shell.workqueue import WorkQueue

logger = logging.getLogger("tacho_operator")

FRAME = "kopf"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the operator until ``stop`` is set, or until one of its parts fails: then that error is raised."""
    registry = Registry()
    metrics = Metrics(registry)
    waker = Waker()
    store = Store(waker)
    async with (
        connect(settings.kubeconfig, metrics.request) as kube,
        report_client() as client,
    ):
        scaler = Scaler(
            Loads(),
            period_seconds=settings.scaling_period_seconds,
            call=lambda key: queue.add(key),
            sink=ScalingMetrics(metrics.registry),
        )
        reports = Reports(client, late=lambda key: queue.add(key), counted=metrics.report)
        reconciler = Reconciler(
            kube=kube,
            observer=Observer(kube, store, reports),
            store=store,
            config=settings.decisions,
            metrics=metrics,
            clock=lambda: datetime.now(timezone.utc),
            scaler=scaler,
        )
        queue = WorkQueue(
            where_in_sync(store, reconciler),
            workers=settings.workers,
            priority=lambda key: priority(store, key),
            gate=lambda: in_sync(store, settings.watch_namespaces),
            asked_pause_seconds=asked_pause_seconds,
        )
        waker.connect(store, queue)
        streams = reflectors(kube, store, settings.watch_namespaces, metrics.reconnect)
        metrics.registry.register(Sizes(store, queue, streams))
        with metrics_server(settings.metrics_port, registry, scaler.latest, scaler.scraped):
            hangs = partial(hanging, store, queue, settings.watch_namespaces)
            async with readiness_server(settings.readiness_port, hanging=hangs, stale=store.stale):
                parts = {f"watching {stream.kind}": stream.run() for stream in streams}
                parts[FRAME] = frame(
                    kubeconfig=settings.kubeconfig, health_port=settings.health_port, hanging=hangs, stop=stop
                )
                parts["workers"] = queue.run()
                parts["scaler"] = scaler.run()
                parts["resync"] = resync(store, queue, settings.resync_seconds)
                await _run_together(parts, stop)


async def _run_together(parts: Mapping[str, Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """All parts until told to stop; whichever ends first ends all of them."""
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        # kopf takes SIGTERM for itself: its end without an error means that we were told to stop.
        if stopping not in done and FRAME not in {task.get_name() for task in done}:
            raise RuntimeError(f"{', '.join(task.get_name() for task in done)} ended by itself")
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)  # until kopf runs, which then takes them over
    logger.info(
        "tacho %s, watching %s", __version__, ", ".join(settings.watch_namespaces) or "every namespace"
    )
    await serve(settings, stop)


def main() -> int:
    """Exit 0 when told to stop, 1 when a part failed (the kubelet restarts it), 2 for a wrong setting."""
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
