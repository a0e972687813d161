"""The settings of the children of ``tacho run``: those of a pod, with engines and paths of this machine."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from tacho_cli.inputs.model import cluster_form, model_directory
from tacho_cli.output import Format
from tacho_cli.problems import ExitCode, failed
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.fetch import FetchConfig
from tacho_contract.launch import LiveConfig, RuntimeConfig, RuntimePaths
from tacho_contract.pod import CACHE_FOLDER, RUNTIME_PORT
from tacho_engines.registry import engine_profile, engine_profiles
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.pod_template import fetch_config, runtime_config
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.identity import desired_revision_name, live_config, plan_key
from tacho_operator.core.types import Config


def require_engine(name: str | None) -> None:
    """Raises CommandError(EngineNotSupported), with the pip extra to install, where the engine is missing
    here."""
    package = engine_profile(name).local.package if name else ""
    if not package or find_spec(package) is not None:
        return
    raise failed(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"Engine {name} needs the Python package {package}, which is not installed here.",
            next_step=f"Install it: .venv/bin/uv pip install '.[{name}]' in a clone of tacho.",
        ),
        ExitCode.FAILED,
    )


def local_images(name: str) -> dict[str, str]:
    """An image reference for each engine that this Python can run: ``name``, with the installed version as
    tag.

    Planning needs one, as the engine's switches follow from its version. No image is pulled.
    """
    rows = (row for row in engine_profiles() if row.local.entrypoint)
    return {
        setting: ":".join(filter(None, (name, installed_version(row.local.package))))
        for row in rows
        for setting in row.image_settings
    }


def installed_version(package: str) -> str:
    """Version of the distribution that contains an import package, whatever its name; "" where it is not
    installed."""
    if not package or find_spec(package) is None:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        brings = packages_distributions().get(package, [])
        return version(brings[0]) if brings else ""


def local_entrypoint(name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """The command that starts the engine from this Python's packages; ``otherwise`` for an engine with its
    own command.

    ``otherwise``: the entrypoint of the engine's image, which decides the build.
    """
    row = engine_profile(name)
    found = row.local.entrypoint
    if row.cpu_image is not None and otherwise == row.cpu_image.entrypoint:
        found = row.local.cpu_entrypoint or found
    return (sys.executable, *found) if found else otherwise


LOCAL_IMAGE = "local"
LOCAL = Config(tacho_image=LOCAL_IMAGE, engine_images=local_images(LOCAL_IMAGE), in_pods=False)
"""Operator settings for planning: the engines are packages of this Python, in their installed versions."""

DRAIN_SECONDS = 10
"""Seconds that Ctrl-C waits for running requests: short, as the user waits at the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of ``tacho run``."""

    file: str
    name: str = ""
    claims: tuple[str, ...] = ()
    once: bool = False
    output: Format = "table"
    host: str = "127.0.0.1"
    port: int | None = None
    report_port: int = RUNTIME_PORT
    log: str = ""
    """File that keeps what engine and runtime print; "": nothing is kept."""

    @property
    def drain_seconds(self) -> int:
        """Seconds to drain running requests. 0 with --once: no client knows the address, so no request
        runs."""
        return 0 if self.once else DRAIN_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSetup:
    """All settings that the children of ``tacho run`` read."""

    resource: LLMDeployment
    """The resource as a cluster would accept it: a file:// model appears as a claim."""
    revision: str
    plan_key: str
    runtime: RuntimeConfig
    live: LiveConfig
    fetch: FetchConfig | None


def cache_directory(resource: LLMDeployment, claims: dict[str, Path]) -> Path:
    """The folder for downloads: the folder given for the cache claim by --pvc, else the user's cache."""
    cache = resource.spec.cache
    claim = cache.persistent_volume_claim if cache else None
    if claim and claim.claim_name in claims:
        return claims[claim.claim_name] / (claim.sub_path or "")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tacho" / "models"


def compiled_directory(resource: LLMDeployment, claims: dict[str, Path]) -> Path:
    """The folder for compiled and converted artifacts; it is next to the downloads, as on a cache claim."""
    return cache_directory(resource, claims) / CACHE_FOLDER


def local_setup(
    resource: LLMDeployment,
    plan: ModelPlan,
    claims: dict[str, Path],
    order: RunOptions,
    scratch: Path,
) -> LocalSetup:
    """A pod's settings with this machine's paths in it. Nothing is written.

    ``scratch``: a temporary directory for this run, in place of a pod's emptyDir.
    """
    shared = cluster_form(resource)
    revision = desired_revision_name(shared)
    key = plan_key(plan, shared.spec)
    inside = runtime_config(shared, plan, revision, key)
    folder = model_directory(resource.spec.model.source, claims)
    fetch = fetch_config(shared, plan)
    if fetch:
        fetch = dataclasses.replace(
            fetch, cache_dir=str(cache_directory(resource, claims)), state_dir=str(scratch / "fetch")
        )
    keeps = engine_profile(plan.engine).keeps
    return LocalSetup(
        resource=shared,
        revision=revision,
        plan_key=key,
        live=live_config(shared.spec, plan),
        fetch=fetch,
        runtime=dataclasses.replace(
            inside,
            model=dataclasses.replace(inside.model, path=str(folder) if folder else ""),
            entrypoint=local_entrypoint(plan.engine, inside.entrypoint),
            bind_host=order.host,
            engine_port=order.port or inside.engine_port,
            runtime_port=order.report_port,
            paths=RuntimePaths(
                cache_dir=str(compiled_directory(resource, claims)) if keeps else "",
                fetch_dir=fetch.state_dir if fetch else "",
                state_dir=str(scratch / "state"),
                live_file=str(scratch / "live.json"),
                termination_log=str(scratch / "termination"),
            ),
            drain_seconds=order.drain_seconds,
        ),
    )
