"""The operator's settings, read from environment variables. No other module reads the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from tacho_engines.hardware.gpus import normalise
from tacho_engines.registry import image_settings
from tacho_operator.api.base import DECIMAL_PATTERN
from tacho_operator.api.defaults import CURRENCY, GPU_TOLERATIONS
from tacho_operator.api.spec.podtemplate import Toleration
from tacho_operator.core.types import Config

ENGINE_IMAGE_PREFIX = "TACHO_ENGINE_IMAGE_"
NAMESPACE_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
OBJECT_NAME = r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and its valid values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one installation."""

    decisions: Config
    watch_namespaces: tuple[str, ...]
    """Namespaces to watch; empty: all."""
    workers: int
    resync_seconds: float
    """Longest time in seconds between two reconciles of a resource."""
    scaling_period_seconds: float
    """Seconds between two samples of the pods' load."""
    lease_name: str
    pod_name: str
    """Name of the operator's pod, used as holder of the Lease; "" outside a pod."""
    pod_address: str
    max_probe_pods: int
    """Maximum number of probe pods in the cluster."""
    metrics_port: int
    health_port: int
    """Port of the liveness endpoint (/healthz)."""
    readiness_port: int
    log_level: str
    log_json: bool
    kubeconfig: str
    """Path of a kubeconfig file; "": the pod's service account is used."""


def _integer(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, "") or str(default)
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise SettingsError(f"{name}={text!r}: must be a whole number")
    value = int(text)
    if not low <= value <= high:
        raise SettingsError(f"{name}={value}: must be from {low} to {high}")
    return value


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "") or "false"
    if text not in ("true", "false"):
        raise SettingsError(f"{name}={text!r}: true or false")
    return text == "true"


def _name(environment: Mapping[str, str], name: str, default: str = "") -> str:
    """The name of an object; a wrong one would be part of the path of requests."""
    text = environment.get(name, "") or default
    if text and not re.fullmatch(OBJECT_NAME, text):
        raise SettingsError(f"{name}={text!r}: must be the name of an object, such as tacho-system")
    return text


def _namespaces(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Names of namespaces, each once. Raises SettingsError, as for commas alone, which would mean all."""
    text = environment.get(name, "")
    found = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if (text and not found) or not all(re.fullmatch(NAMESPACE_NAME, part) for part in found):
        raise SettingsError(f"{name}={text!r}: must be namespaces, such as team-a,team-b, or empty for all")
    return found


def _image(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    if not re.fullmatch(r"[!-~]*", text):
        raise SettingsError(f"{name}={text!r}: must be an image, without blanks")
    return text


def _pull_policy(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "") or "IfNotPresent"
    if text not in ("Always", "IfNotPresent", "Never"):
        raise SettingsError(f"{name}={text!r}: one of Always, IfNotPresent, Never")
    return text


def _prices(environment: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Prices by GPU product, from a JSON object. Raises SettingsError: an unreadable price would silently
    remove all costs.
    """
    text = environment.get(name, "") or "{}"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsError(f'{name}={text!r}: must be a JSON object, such as {{"NVIDIA-H200": "3.50"}}')
    for product, price in found.items():
        if not isinstance(price, str) or not re.fullmatch(DECIMAL_PATTERN, price) or not float(price):
            raise SettingsError(
                f"{name}: {product}: {price!r}: must be a decimal string above 0 with at most three places"
            )
    if len({normalise(product) for product in found}) < len(found):
        raise SettingsError(
            f"{name}={text!r}: one product has two prices, as case, spaces and _ do not count"
        )
    return found


def _tolerations(environment: Mapping[str, str], name: str) -> tuple[Mapping[str, str], ...]:
    """Tolerations from a JSON list. Raises SettingsError."""
    text = environment.get(name, "")
    if not text:
        return GPU_TOLERATIONS
    try:
        return tuple(item.to_wire() for item in TypeAdapter(list[Toleration]).validate_json(text))
    except ValueError:
        raise SettingsError(f"{name}={text!r}: must be a JSON list of tolerations, or [] for none") from None


def _currency(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "") or CURRENCY
    if not re.fullmatch("[A-Z]{3}", text):
        raise SettingsError(f"{name}={text!r}: must be an ISO 4217 code, such as {CURRENCY}")
    return text


def _hub_endpoint(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    encrypted = text.startswith("https://")
    insecure = text.startswith("http://") and _switch(environment, "TACHO_ALLOW_INSECURE_HUB")
    if text and not encrypted and not insecure:
        raise SettingsError(
            f"{name}={text!r}: must begin with https://, or with http:// where that is allowed"
        )
    if text and not re.fullmatch(r"https?://[^\s/?#][!-~]*", text):
        raise SettingsError(f"{name}={text!r}: must be a URL with a host, without blanks")
    return text


def _known_engines(environment: Mapping[str, str]) -> None:
    """Raises SettingsError for an image setting of an unknown engine, which would otherwise be ignored."""
    known = {f"{ENGINE_IMAGE_PREFIX}{name.upper()}" for name in image_settings()}
    for name in sorted(environment):
        if name.startswith(ENGINE_IMAGE_PREFIX) and name not in known:
            raise SettingsError(f"{name}: there is no such engine; known are {', '.join(sorted(known))}")


def load_settings(environment: Mapping[str, str]) -> Settings:
    """The settings from TACHO_* environment variables. Raises SettingsError."""
    image = _image(environment, "TACHO_IMAGE")
    if not image:
        raise SettingsError("TACHO_IMAGE is not set: it names the image that inspect and fetch pods run")
    level = environment.get("TACHO_LOG_LEVEL", "") or "INFO"
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"TACHO_LOG_LEVEL={level!r}: one of DEBUG, INFO, WARNING, ERROR")
    log_format = environment.get("TACHO_LOG_FORMAT", "") or "text"
    if log_format not in ("text", "json"):
        raise SettingsError(f"TACHO_LOG_FORMAT={log_format!r}: text or json")
    _known_engines(environment)
    return Settings(
        decisions=Config(
            tacho_image=image,
            engine_images={
                name: value
                for name in image_settings()
                if (value := _image(environment, f"{ENGINE_IMAGE_PREFIX}{name.upper()}"))
            },
            image_pull_policy=_pull_policy(environment, "TACHO_IMAGE_PULL_POLICY"),
            operator_namespace=_name(environment, "TACHO_OPERATOR_NAMESPACE", "tacho-system"),
            monitoring_namespace=_name(environment, "TACHO_MONITORING_NAMESPACE"),
            allow_insecure_hub=_switch(environment, "TACHO_ALLOW_INSECURE_HUB"),
            hub_endpoint=_hub_endpoint(environment, "TACHO_HUB_ENDPOINT"),
            gpu_tolerations=_tolerations(environment, "TACHO_GPU_TOLERATIONS"),
            gpu_prices=_prices(environment, "TACHO_GPU_PRICES"),
            currency=_currency(environment, "TACHO_CURRENCY"),
            inspect_deadline_seconds=_integer(environment, "TACHO_INSPECT_DEADLINE_SECONDS", 300, 10, 3600),
        ),
        watch_namespaces=_namespaces(environment, "TACHO_WATCH_NAMESPACES"),
        workers=_integer(environment, "TACHO_WORKERS", 16, 1, 64),
        resync_seconds=_integer(environment, "TACHO_RESYNC_SECONDS", 3600, 5, 86400),
        scaling_period_seconds=_integer(environment, "TACHO_SCALING_PERIOD_SECONDS", 10, 1, 30),
        lease_name=_name(environment, "TACHO_LEASE_NAME", "tacho"),
        pod_name=environment.get("TACHO_POD_NAME", ""),
        pod_address=environment.get("TACHO_POD_ADDRESS", ""),
        max_probe_pods=_integer(environment, "TACHO_MAX_PROBE_PODS", 8, 1, 10_000),
        metrics_port=_integer(environment, "TACHO_METRICS_PORT", 9401, 0, 65535),
        health_port=_integer(environment, "TACHO_HEALTH_PORT", 9402, 1, 65535),
        readiness_port=_integer(environment, "TACHO_READINESS_PORT", 9403, 1, 65535),
        log_level=level,
        log_json=log_format == "json",
        kubeconfig=environment.get("KUBECONFIG", ""),
    )
