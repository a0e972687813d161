"""Takes and renews the leader's Lease, or waits for it: the loop that does what core/election.py decides.

kubernetes.aio's own election is not used: it compares wall clocks, lets a TimeoutError escape while the led
task works on, waits 300 s for an answer and releases nothing. A pure function is as short and can be tested
completely.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from tacho_operator.core.election import (
    RENEW_DEADLINE_SECONDS,
    RETRY_SECONDS,
    Candidate,
    address_of,
    holder_of,
    new_lease,
    released,
    turn,
)
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import ApiError, Conflict, Fenced, Forbidden, Invalid, Missing
from tacho_operator.shell.kube import KINDS, Kube

logger = logging.getLogger(__name__)

UNAUTHORIZED = 401
REQUESTS_SECONDS = 5.0
"""Seconds to read and write the Lease, so that a leader can try twice before the Lease expires."""
RELEASE_SECONDS = 2.0
TRIAL_NAME = "tacho-leader-trial"
"""The chart's policy of children leaves the dry run of this name out: its refusal would hide the other's."""
TRIAL_PERIOD_SECONDS = 0.1
TRIAL_AGAIN_SECONDS = 60.0
"""Seconds from a trial that is over to the next: a policy that is changed later could refuse every write, and
a process that leads so would only log it.
"""
LASTING = (Forbidden, Invalid, Missing, Conflict)
"""Refusals of a trial that do not pass by themselves: of a webhook, a quota, another policy."""


class LeaseLost(RuntimeError):
    """Another process leads, or the API server refuses writes of this process. The process has to exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePlace:
    """Namespace and name of the Lease, and of the object with which a new leader tests that the API server
    accepts its writes.
    """

    namespace: str
    name: str
    trial_namespace: str
    """A namespace where the operator may create ConfigMaps; a new leader sends one as a dry run."""


def trial(namespace: str) -> Manifest:
    """What a new leader sends as a dry run."""
    metadata = {
        "name": TRIAL_NAME,
        "namespace": namespace,
        # The chart's policies are of objects with this label and owner.
        "labels": {DEPLOYMENT_LABEL: "trial"},
        "ownerReferences": [
            {
                "apiVersion": KINDS["LLMDeployment"][0],
                "kind": "LLMDeployment",
                "name": "trial",
                "uid": str(uuid.UUID(int=0)),
                "controller": True,
            }
        ],
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


class Elector:
    """This process as a candidate in the leader election."""

    def __init__(
        self,
        kube: Kube,
        candidate: Candidate,
        place: LeasePlace,
        clock: Callable[[], datetime],
        *,
        on_answer_again: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        """``on_answer_again`` is called when the API server answers after requests without an answer, with
        the seconds since the first of them: other connections may be dead, too.
        """
        self._kube, self._candidate, self._place, self._clock = kube, candidate, place, clock
        self._on_answer_again = on_answer_again
        self._unanswered_since: float | None = None
        self._lease: Manifest | None = None
        self._held_since: float | None = None
        """When this process first held the Lease, by the monotonic clock; None: it does not hold it."""
        self._tried = False
        """Whether the trial is over since this process became the holder: accepted, or without an answer."""
        self._doubt: Exception | None = None
        """Why it is not known whether the API server accepts writes of this process; None: it is known."""
        self._next_trial = float("-inf")
        self._fenced_since: float | None = None
        self._unknown_since: float | None = None
        """When the first of the last trials was refused by the fence, or had no answer; None: the last one
        had another result.
        """
        self._unauthorized_since: float | None = None
        """Since when the API server answers 401; None: its last answer was another one."""
        self._renewed = asyncio.Event()
        self._last_line = ""

    def leads(self) -> bool:
        """Whether this process is the leader and may write to the cluster.

        False, too, when the API server has not answered for too long; True again once it answers and no other
        process has led in between.
        """
        return self._tried and self._candidate.leads(monotonic())

    async def led(self) -> None:
        """Waits until this process is the leader."""
        while not self.leads():
            self._renewed.clear()
            await self._renewed.wait()

    def leader_address(self) -> str:
        """The HTTP address of the leader if that is another process; "" where this one leads, or none is
        known."""
        return "" if holder_of(self._lease) == self._candidate.identity else address_of(self._lease)

    def unauthorized(self) -> tuple[str, ...]:
        """A line that the API server does not accept this process's token, as of one that has expired; ()
        where it does, or has not for RENEW_DEADLINE_SECONDS yet.

        Watches that were opened before go on for long, so that a standby would look as if it could lead.
        """
        since = self._unauthorized_since
        if since is None or monotonic() - since < RENEW_DEADLINE_SECONDS:
            return ()
        return ("Lease: the API server does not accept this process's token (401)",)

    async def run(self) -> None:
        """Takes part in the election until cancelled, and then releases the Lease. Raises LeaseLost."""
        delay = 0.0
        try:
            while True:
                await asyncio.sleep(delay)
                delay = await self._renew()
        finally:
            await self._release()

    async def _renew(self) -> float:
        """Reads the Lease once and writes it if needed; returns the seconds until the next reading."""
        began = monotonic()
        left = self._candidate.leads_until - began
        if left <= 0:  # what trials met before says nothing of those after a time without leading
            self._fenced_since = self._unknown_since = None
        try:
            async with asyncio.timeout(min(REQUESTS_SECONDS, left) if left > 0 else REQUESTS_SECONDS):
                wait_seconds = await self._read_and_write()
        except LeaseLost:
            raise
        except TimeoutError:
            self._unanswered_since = began if self._unanswered_since is None else self._unanswered_since
            self._unauthorized_since = None
            self._say("the Lease was not read or written: no answer", logging.WARNING)
            return max(0.0, began + RETRY_SECONDS - monotonic())
        except Exception as error:  # noqa: BLE001 - a Lease of other fields, too, must not end the process
            refused = isinstance(error, ApiError) and error.status == UNAUTHORIZED
            since = began if self._unauthorized_since is None else self._unauthorized_since
            self._unauthorized_since = since if refused else None
            self._say(f"the Lease was not read or written: {type(error).__name__} {error}", logging.WARNING)
            return max(0.0, began + RETRY_SECONDS - monotonic())
        self._unauthorized_since = None
        if self._unanswered_since is not None:
            silent_seconds, self._unanswered_since = monotonic() - self._unanswered_since, None
            self._on_answer_again(silent_seconds)
        if self._candidate.leads(monotonic()):
            await self._try_fence()
            self._lead()
        return wait_seconds

    async def _read_and_write(self) -> float:
        began, place = monotonic(), self._place
        found = await self._kube.get("Lease", place.namespace, place.name)
        self._lease = found or new_lease(place.namespace, place.name)
        step = turn(self._candidate, self._lease, monotonic(), self._clock())
        self._candidate = step.candidate
        if step.write is None:
            if self._held_since is not None:
                raise LeaseLost(f"{holder_of(self._lease)} holds the Lease that this process held")
            self._say(f"{holder_of(self._lease)} leads; this process watches and waits")
            return step.wait_seconds
        self._lease = await (self._kube.replace(step.write) if found else self._kube.create(step.write))
        self._candidate = self._candidate.renewed(began)
        self._held_since = self._held_since or began
        return step.wait_seconds

    async def _try_fence(self) -> None:
        """Waits until the API server accepts writes of this process as the new holder; later tries it again
        now and then.

        Its admission policy sees the changed Lease a moment later. Raises LeaseLost if it refuses for
        RENEW_DEADLINE_SECONDS. After as long without an answer this process leads anyway: the policy checks
        each write, and a webhook may refuse this object for ever.
        """
        began = monotonic()
        if self._tried and began < self._next_trial:
            return
        error = await self._trial_error()
        if isinstance(error, Fenced):
            self._doubt = self._unknown_since = None
            self._fenced_since = began if self._fenced_since is None else self._fenced_since
            if monotonic() - self._fenced_since > RENEW_DEADLINE_SECONDS:
                raise LeaseLost(f"this process holds the Lease, and yet {error.message}")
            return
        self._doubt, self._fenced_since = error, None
        if error is None or isinstance(error, LASTING):
            self._unknown_since = None
        else:
            self._unknown_since = began if self._unknown_since is None else self._unknown_since
            if began - self._unknown_since < RENEW_DEADLINE_SECONDS:
                return
        self._tried, self._next_trial = True, began + TRIAL_AGAIN_SECONDS

    async def _trial_error(self) -> Exception | None:
        """Why the API server accepted no trial for RETRY_SECONDS, or another reason than the Lease; None: it
        accepted one. Short, as the Lease has to be renewed meanwhile.
        """
        fenced: Fenced | None = None
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                while True:
                    try:
                        await self._kube.try_create(trial(self._place.trial_namespace))
                    except Fenced as error:
                        fenced = error
                        await asyncio.sleep(TRIAL_PERIOD_SECONDS)
                    else:
                        return None
        except TimeoutError as late:
            return fenced or late
        except Exception as error:  # noqa: BLE001 - it must not end the process
            return error

    def _lead(self) -> None:
        leading = f"{self._candidate.identity} leads" if self._tried else "this process does not lead yet"
        if self._doubt is not None:
            why = f"{type(self._doubt).__name__} {self._doubt}"
            self._say(f"{leading}; whether its writes are accepted is not known: {why}", logging.WARNING)
        elif self._tried:
            self._say(leading)
        if self._tried:
            self._renewed.set()

    async def _release(self) -> None:
        """Releases the Lease so that another process can lead at once; if that fails, the other leads after
        its expiry.

        The Lease is read first: a write without an answer may have been accepted.
        """
        self._tried, place = False, self._place
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                found = await self._kube.get("Lease", place.namespace, place.name)
                if found is not None and holder_of(found) == self._candidate.identity:
                    await self._kube.replace(released(found, self._clock()))
        except (ApiError, TimeoutError) as error:
            logger.warning("the Lease was not released: %s %s", type(error).__name__, error)

    def _say(self, line: str, level: int = logging.INFO) -> None:
        """Logs ``line``, unless it was the last one logged."""
        if line != self._last_line:
            self._last_line = line
            logger.log(level, "%s", line)
