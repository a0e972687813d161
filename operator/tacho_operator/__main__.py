"""Wiring only: settings, clients, queue, kopf. The one place where the parts meet."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from datetime import datetime, timezone
from typing import Any

import kopf
import prometheus_client

from tacho_contract import __version__
from tacho_operator.config import Settings, SettingsError, load_settings
from tacho_operator.shell.handlers import build_registry, kopf_settings
from tacho_operator.shell.kube import ApiError, Kube, connect
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.reconcile import Reconciler
from tacho_operator.shell.reports import report_client
from tacho_operator.shell.resync import resync
from tacho_operator.shell.workqueue import WorkQueue

logger = logging.getLogger("tacho_operator")

CRD_POLL_SECONDS = 3.0


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the operator until ``stop`` is set, or until one of its parts fails: then that error is raised."""
    metrics = Metrics(prometheus_client.CollectorRegistry())
    async with connect(settings.kubeconfig) as kube, report_client() as client:
        reconciler = Reconciler(
            kube=kube,
            observer=Observer(kube, client),
            config=settings.decisions,
            metrics=metrics,
            clock=lambda: datetime.now(timezone.utc),
        )
        queue = WorkQueue(reconciler, workers=settings.workers)
        metrics.queue_depth.set_function(lambda: queue.depth)
        with _metrics_server(settings.metrics_port, metrics):
            await _crd_present(kube, settings, stop)
            await _run_together(settings, kube, queue, stop)


async def _crd_present(kube: Kube, settings: Settings, stop: asyncio.Event) -> None:
    """Waits for the CRD: kopf, told not to scan (that wants rights over all CRDs), looks only once."""
    namespace = next(iter(settings.watch_namespaces), None)
    while not stop.is_set():
        try:
            await kube.list_all("LLMDeployment", namespace)
        except (ApiError, OSError) as error:
            logger.warning(
                "cannot list LLMDeployments yet: %s; are the CRD and the operator's roles installed?", error
            )
            await asyncio.sleep(CRD_POLL_SECONDS)
        else:
            return


class _metrics_server:  # noqa: N801 - used as a with-block
    """prometheus_client's own server, for as long as the block lasts."""

    def __init__(self, port: int, metrics: Metrics) -> None:
        self._port, self._registry = port, metrics.registry

    def __enter__(self) -> None:
        self._server, self._thread = prometheus_client.start_http_server(self._port, registry=self._registry)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _identity() -> Any:
    """kopf would look the user up by name, and a container's uid has none."""
    return os.uname().nodename


async def _run_together(settings: Settings, kube: Kube, queue: WorkQueue, stop: asyncio.Event) -> None:
    """kopf, the workers and the resync; whichever ends first ends all of them."""
    watching = kopf.operator(
        registry=build_registry(queue, settings.kubeconfig),
        settings=kopf_settings(),
        standalone=True,
        identity=_identity(),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
        stop_flag=stop,
    )
    tasks = [
        asyncio.create_task(watching, name="watching"),
        asyncio.create_task(queue.run(), name="workers"),
        asyncio.create_task(resync(kube, queue, settings), name="resync"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        # kopf takes SIGTERM for itself: its end without an error means that we were told to stop.
        if tasks[0] not in done and not stop.is_set():
            raise RuntimeError(f"{', '.join(task.get_name() for task in done)} ended by itself")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    kopf.configure(
        debug=settings.log_level == "DEBUG",
        quiet=settings.log_level in ("WARNING", "ERROR"),
        log_format=kopf.LogFormat.JSON if settings.log_json else kopf.LogFormat.FULL,
    )
    for chatty in ("httpx", "aiohttp.access", "kopf.objects", "kopf.activities"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        asyncio.run(_main(settings))
    except Exception:
        logger.exception("the operator stops because a part of it failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
