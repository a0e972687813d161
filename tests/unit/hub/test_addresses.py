"""A hub leads its client nowhere inside: not to this machine, nor to its cloud's metadata service."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tacho_contract.failure import FailureClass
from tacho_contract.fetch import FetchConfig
from tacho_contract.model import InspectConfig
from tacho_runtime.hub import remote
from tacho_runtime.hub.addresses import is_inward
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import failed
from tests.unit.hub.inspecting import facts_of, failure_of

INWARD = "leads to 169.254.169.254, which is no address of a hub"


@pytest.fixture
def far_hub(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> RunningHub:
    """The hub, as if it were not on this machine."""
    monkeypatch.setattr(remote, "is_inward", lambda host: host != "127.0.0.1" and is_inward(host))
    return hub


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    is_inward.cache_clear()


@pytest.mark.parametrize(
    ("host", "inward"),
    [
        *((host, True) for host in ("169.254.169.254", "127.0.0.1", "0.0.0.0", "localhost", "::1")),
        *((host, True) for host in ("2852039166", "0xa9fea9fe", "::ffff:169.254.169.254", "fe80::1")),
        *((host, True) for host in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")),
        *((host, True) for host in ("64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b::127.0.0.1")),
        *((host, True) for host in ("::169.254.169.254", "::ffff:0:169.254.169.254", "2002:a9fe:a9fe::1")),
        *((host, True) for host in ("::ffff:100.100.100.200", "64:ff9b::168.63.129.16", "64:ff9b::")),
        *((host, False) for host in ("64:ff9b::8c52:7903", "2002:8c52:7903::a9fe:a9fe", "2606::a9fe:a9fe")),
        *((host, False) for host in ("10.0.0.7", "192.168.1.2", "140.82.121.3", "2606:4700::1", "")),
    ],
)
def test_this_machine_and_metadata_services_are_inward(host: str, *, inward: bool) -> None:
    assert is_inward(host) == inward


@pytest.mark.parametrize(
    ("proxy", "without", "inward"),
    [
        ("", "", True),
        ("http://proxy:3128", "", False),
        ("http://proxy:3128", ".svc", False),
        ("http://proxy:3128", ".svc,.example", True),
        ("http://proxy:3128", "*", True),
    ],
)
def test_a_name_is_resolved_unless_a_proxy_does(
    monkeypatch: pytest.MonkeyPatch, proxy: str, without: str, *, inward: bool
) -> None:
    def resolve(host: str, *_: Any, flags: int = 0, **__: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    if proxy:
        monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", without)
    assert is_inward("metadata.example") == inward


def test_an_inspection_is_not_led_inside(far_hub: RunningHub, published: InspectConfig) -> None:
    far_hub.fake.faults.redirect_to = "http://169.254.169.254/latest"
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, False)
    assert INWARD in failure.message


def test_a_hub_on_this_machine_may_lead_to_this_machine(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    assert facts_of(published).tensors
    assert hub.asked("GET", "/_elsewhere")


def test_a_download_is_not_led_inside(far_hub: RunningHub, config: FetchConfig) -> None:
    far_hub.fake.faults.redirect_to = "http://169.254.169.254/latest"
    assert INWARD in failed(config).message


@pytest.mark.parametrize("proxied", [False, True])
async def test_a_name_that_has_another_address_when_it_is_asked_is_not_read(
    far_hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    """First one of the internet, for the check, then this machine's."""
    original, answers = socket.getaddrinfo, iter(["140.82.121.3"])

    def resolve(host: Any, *arguments: Any, **more: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        return original(next(answers, "127.0.0.2") if name == "turns.example" else name, *arguments, **more)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="what is nobody else's")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application, host="127.0.0.2") as inside:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        far_hub.fake.faults.redirect_to = f"http://turns.example:{inside.port}"
        if proxied:  # it resolves the name
            monkeypatch.setenv("http_proxy", f"http://127.0.0.2:{inside.port}")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
        failure = await asyncio.to_thread(failure_of, published)
    assert ("leads to 127.0.0.2, which is no address of a hub" in failure.message) == (not proxied)
