"""What others write reaches status without a character that forges a line or hides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_operator.core.types import ChildRefusal
from tools.harness.pod_states import container_state, insufficient
from tools.harness.world import World

FORGERY = "no\x1b[2K\r\x9b1A\u202e\u200b\x85room"


def terminated(world: World) -> None:
    failure = Failure(failure_class="GPUOutOfMemory", message=FORGERY, next_step="Use less.")
    container_state(
        world.pods("server")[0],
        restartCount=1,
        lastState={"terminated": {"exitCode": 1, "message": codec.dumps(failure)}},
    )


def webhook(world: World) -> None:
    message = f'admission webhook "w" denied the request: {FORGERY}'
    world.refusals = (ChildRefusal(kind="Service", name="smol", message=message),)


def scheduler(world: World) -> None:
    insufficient(world.pods("server")[0], FORGERY)


def image_pull(world: World) -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": FORGERY}}
    container_state(world.pods("server")[0], state=state)


@pytest.mark.parametrize("writes", [terminated, webhook, scheduler, image_pull])
def test_no_foreign_text_forges_a_line_of_status(writes: Callable[[World], None]) -> None:
    world = World()
    world.first_pods()
    writes(world)
    world.reconcile(1)
    texts = [condition["message"] for condition in world.status["conditions"]]
    assert any("room" in text for text in texts), "the words are told"
    assert not [mark for mark in "\x1b\r\x9b\u202e\u200b\x85" if any(mark in text for text in texts)]
