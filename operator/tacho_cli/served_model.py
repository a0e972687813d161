"""Finds the model that an OpenAI-compatible server serves, and which engine that is."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from tacho_cli.problems import CommandError
from tacho_contract.text import visible
from tacho_engines.registry import engine_profiles

REQUEST_SECONDS = 10.0
LIST_LIMIT_BYTES = 4 * 1024 * 1024
"""Longest list of models in bytes that is read."""
API = "/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    base_url: str
    """The server's URL, without /v1."""
    model: str
    engine: str
    """The engine's name in tacho, where the endpoint reports it; else ""."""


def base_of(url: str) -> str:
    """The URL up to /v1. Raises CommandError for an invalid URL."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        more = parts.query or parts.fragment or "@" in parts.netloc  # a password would be shown
    except ValueError:
        known = more = None
    if not known or more:
        raise CommandError(
            f"{url}: http://HOST[:PORT] or https://HOST[:PORT] of an OpenAI-compatible server is expected",
        )
    return url.rstrip("/").removesuffix(API)


def find(url: str, model: str, api_key: str) -> ServedModel:
    """The model served at ``url``. ``model``: its name, "" where the server has one only. Raises
    CommandError."""
    base = base_of(url)
    try:
        served = _models(base, api_key)
    except CommandError:
        if not model:
            raise
        served = []  # Not every server has the list, and the name is all that is needed of it.
    names = [str(item["id"]) for item in served]
    shown = visible(", ".join(names))
    if model and served and model not in names:
        raise CommandError(f"{base} serves no {model}; it serves: {shown}")
    if not model and len(names) != 1:
        raise CommandError(
            f"{base} serves several models ({shown}); choose one with --model"
            if names
            else f"{base} lists no model; name one with --model",
        )
    chosen = model or names[0]
    owner = next((str(item.get("owned_by", "")) for item in served if item["id"] == chosen), "")
    spelled = owner.lower().replace(".", "")
    known = {row.name for row in engine_profiles()}
    return ServedModel(base_url=base, model=chosen, engine=spelled if spelled in known else "")


def _models(base: str, api_key: str) -> list[dict[str, Any]]:
    """The models that the endpoint lists, each with an ``id``. Raises CommandError."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    where = f"{base}{API}/models"
    try:
        # The authorities that the probe will believe, too.
        trust = ssl.create_default_context()
        with (
            httpx.Client(timeout=REQUEST_SECONDS, trust_env=False, verify=trust) as client,
            client.stream("GET", where, headers={**headers, "Accept-Encoding": "identity"}) as answer,
        ):
            answer.raise_for_status()
            return [item for item in json.loads(_body(answer))["data"] if item["id"]]
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        key = "; name the variable that holds its key: --api-key-env" if code in (401, 403) else ""
        why = f"HTTP {code}{key}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "the answer is no list of models; is it an OpenAI-compatible server?"
    raise CommandError(f"{where}: {why}")


def _body(answer: httpx.Response) -> bytes:
    """The body as it was sent. Raises ReadTimeout after REQUEST_SECONDS, ValueError above
    LIST_LIMIT_BYTES."""
    ends, body = time.monotonic() + REQUEST_SECONDS, bytearray()
    for piece in answer.iter_raw():
        body += piece
        if len(body) > LIST_LIMIT_BYTES:
            raise ValueError("too long")
        if time.monotonic() > ends:
            raise httpx.ReadTimeout(f"no full answer within {REQUEST_SECONDS:.0f} s")
    return bytes(body)
