"""What the inspect and fetch containers share: the time limit, and the hub token."""

from __future__ import annotations

import contextlib
import time

import pytest

from tacho_contract.failure import FailedError
from tacho_runtime.hub import container
from tacho_runtime.hub.failures import unreachable


def test_a_time_limit_that_a_library_swallows_comes_again() -> None:
    overdue = unreachable("late")
    container.limit_time(0.05, overdue)
    try:
        with contextlib.suppress(FailedError):
            time.sleep(10)
        with pytest.raises(FailedError) as told:
            time.sleep(10)
    finally:
        container.end_limit()
    assert told.value is overdue


@pytest.mark.parametrize("token", ["hf_secret\nhf_other", "hf_secret\x01", "hf_secr\u00e9t"])
def test_a_token_that_no_header_can_hold_is_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's error had it, and so had status."""
    monkeypatch.setenv("HF_TOKEN", f" {token}\n")
    with pytest.raises(FailedError) as told:
        container.hub_token("https://hub.example.com")
    assert told.value.failure.failure_class == "AuthRequired"
    assert "hf_" not in str(told.value.failure)


def test_a_token_is_read_without_what_surrounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    assert container.hub_token("https://hub.example.com") == "hf_secret"


@pytest.mark.parametrize("password", ["Sec/ret", "Sec?ret", "Sec#ret", "Sec://ret", "Secret\n"])
@pytest.mark.parametrize("scheme", ["http://", "HTTPS://", ""])
def test_a_part_of_a_proxys_password_is_not_shown(
    scheme: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the sign it was taken for a port, which the client's error had."""
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}user:{password}@proxy.example.com:3128")
    with pytest.raises(FailedError) as told:
        container.hub_token("https://hub.example.com")
    assert told.value.failure.failure_class == "InvalidConfig"
    assert "Sec" not in told.value.failure.message + told.value.failure.next_step.replace("Secret", "")


@pytest.mark.parametrize("proxy", ["ftp://Key:@proxy:3128", "socks4://Key@proxy:3128"])
def test_a_key_in_place_of_a_proxys_user_is_not_shown(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client knows no such proxy, and its error hid the password alone."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(FailedError) as told:
        container.hub_token("https://hub.example.com")
    assert told.value.failure.failure_class == "InvalidConfig"
    assert "Key" not in str(told.value.failure)


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://user:Sec@proxy:3128",
        "socks5h://user:Sec@proxy:3128",
        "http://user:Sec%2Fret@proxy:3128/",
        "user:a:b@c@proxy:3128",
        "http://proxy:3128/",
        "proxy:3128",
    ],
)
def test_a_usual_address_of_a_proxy_is_taken(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert container.hub_token("https://hub.example.com") == ""
