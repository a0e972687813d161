"""kopf runs the process: it takes the signals, keeps the login, ends what hangs, and answers for its life.

It gets no resource to watch: it tells neither when a stream breaks nor what went meanwhile, and decisions may
only rest on what is known to be whole (``tacho_operator.shell.store``). Without peers, scans and events it
needs no right either.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
from collections.abc import Callable
from typing import Any

import kopf

LOGIN_EXPIRES = datetime.timedelta(minutes=10)
"""Projected service-account tokens are rotated in place; kopf reads them at login only."""


def _settings() -> kopf.OperatorSettings:
    configured = kopf.OperatorSettings()
    configured.posting.enabled = False
    configured.scanning.disabled = True
    return configured


def registry(kubeconfig: str, hanging: Callable[[], str]) -> kopf.OperatorRegistry:
    """Handlers on a registry of their own. ``hanging``: why the process should be started anew, "" while it
    moves."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # kopf finds the file by the same variable that the settings were read from.
        login_with = kopf.login_with_kubeconfig if kubeconfig else kopf.login_with_service_account
        info = login_with(**kwargs)
        if info is None:
            return None
        expires = datetime.datetime.now(datetime.timezone.utc) + LOGIN_EXPIRES
        return dataclasses.replace(info, expiration=expires)

    @kopf.on.probe(id="workers", registry=found)
    async def workers_move(**_: Any) -> str:
        if why := hanging():
            raise kopf.PermanentError(why)
        return "ok"

    return found


async def frame(
    *, kubeconfig: str, health_port: int, hanging: Callable[[], str], stop: asyncio.Event
) -> None:
    """Until a signal, or until ``stop`` is set; /healthz answers 500 while something hangs."""
    await kopf.operator(
        registry=registry(kubeconfig, hanging),
        settings=_settings(),
        standalone=True,
        identity=_identity(),
        clusterwide=True,
        liveness_endpoint=f"http://0.0.0.0:{health_port}/healthz",
        stop_flag=stop,
    )


def _identity() -> Any:
    """kopf would look the user up by name, and a container's uid has none."""
    return os.uname().nodename
