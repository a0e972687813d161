"""Whose turn is next: priorities, and namespaces beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from tacho_operator.shell.workqueue import Key, Priority, WorkQueue
from tests.wiring.test_workqueue import running, settle


async def order_of(*keys: tuple[Key, Priority], routine: Collection[Key] = ()) -> list[Key]:
    """In which order one worker takes keys that are all due."""
    seen: list[Key] = []

    async def process(key: Key) -> None:
        seen.append(key)

    priorities = dict(keys)
    queue = WorkQueue(process, workers=1, priority=lambda key: priorities[key])
    for key, _ in keys:
        queue.add(key, routine=key in routine)
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(5):
        while len(seen) < len(keys):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seen


async def test_a_storm_in_one_namespace_does_not_starve_another() -> None:
    storm = [(Key("storm", f"s{n:03}"), Priority.WAITS) for n in range(100)]
    other = (Key("calm", "a"), Priority.WAITS)
    order = await order_of(*storm, other)
    assert order.index(other[0]) <= 2


async def test_a_namespace_whose_requests_hang_leaves_workers_to_the_others() -> None:
    begun: list[Key] = []

    async def process(key: Key) -> None:
        begun.append(key)
        await asyncio.Event().wait()

    async with running(process, workers=16) as queue:
        for namespace, most in (("a", 9), ("b", 4), ("c", 2)):
            for number in range(40):
                queue.add(Key(namespace, f"{number}"))
            await settle()
            assert sum(key.namespace == namespace for key in begun) == most
        queue.add(Key("calm", "a"))
        await settle()
        assert begun[-1] == Key("calm", "a")


async def test_beside_another_namespace_a_storm_has_a_quarter_of_the_workers() -> None:
    """With nine of sixteen, whose steps were just short enough to be free, each request of another namespace
    took 200 ms longer."""
    begun: list[Key] = []

    async def process(key: Key) -> None:
        begun.append(key)
        await asyncio.Event().wait()

    async with running(process, workers=16) as queue:
        queue.add(Key("calm", "a"))
        await settle()
        for number in range(40):
            queue.add(Key("storm", f"{number}"))
        await settle()
        assert sum(key.namespace == "storm" for key in begun) == 4


async def test_what_serves_goes_before_what_waits_and_nothing_is_starved() -> None:
    serving = [(Key("ns", f"serves{n:02}"), Priority.SERVES) for n in range(40)]
    waiting = [(Key("ns", f"waits{n}"), Priority.WAITS) for n in range(4)]
    order = await order_of(*waiting, *serving)
    places = [order.index(key) for key, _ in waiting]
    assert places[0] > 0
    assert max(places) < len(serving), "every so manyth turn is of those below"


async def test_a_storm_of_what_serves_and_one_of_changes_take_turns() -> None:
    serving = [(Key("ns", f"serves{n:02}"), Priority.SERVES) for n in range(20)]
    changed = [(Key("ns", f"changed{n:02}"), Priority.CHANGED) for n in range(20)]
    order = await order_of(*serving, *changed)
    early = [key.name.rstrip("0123456789") for key in order[:20]]
    assert 5 <= early.count("changed") <= 15


async def test_of_thousands_that_are_new_each_is_told_soon_and_the_others_still_move() -> None:
    """Among 40 new ones, of five turns of others one is the lowest's, and what serves is not kept waiting."""
    new = [(Key("ns", f"new{n:02}"), Priority.NEW) for n in range(40)]
    serving = [(Key("ns", f"serves{n:02}"), Priority.SERVES) for n in range(40)]
    waiting = [(Key("ns", f"waits{n:02}"), Priority.WAITS) for n in range(40)]
    order = [key.name for key in await order_of(*waiting, *serving, *new)]
    told = order.index("new39") + 1
    assert told == 45, "seven of eight"
    assert [name for name in order[:told] if not name.startswith("new")] == [
        *(f"serves{n:02}" for n in range(4)),
        "waits00",
    ]
    assert len(order) == 120


async def test_beside_new_ones_what_serves_and_what_changed_take_turns() -> None:
    new = [(Key("ns", f"new{n:02}"), Priority.NEW) for n in range(42)]
    serving = [(Key("ns", f"serves{n}"), Priority.SERVES) for n in range(6)]
    changed = [(Key("ns", f"changed{n}"), Priority.CHANGED) for n in range(6)]
    order = [key.name for key in await order_of(*serving, *changed, *new)]
    others = [name for name in order[: order.index("new41")] if not name.startswith("new")]
    assert others == ["serves0", "changed0", "serves1", "changed1", "changed2"]


async def test_new_ones_go_before_those_that_only_wait_but_for_a_few() -> None:
    """What follows a first status writes ten times as much: all that are new would wait for it."""
    new = [(Key("ns", f"new{n:02}"), Priority.NEW) for n in range(70)]
    waiting = [(Key("ns", f"waits{n}"), Priority.WAITS) for n in range(6)]
    order = [key.name for key in await order_of(*waiting, *new)]
    told = order[: order.index("new69")]
    assert [place for place, name in enumerate(told) if name.startswith("waits")] == [31, 63]


async def test_routine_comes_last_until_something_happens() -> None:
    keys = [(Key("ns", f"k{n}"), Priority.SERVES) for n in range(3)]
    first, second, third = (key for key, _ in keys)
    assert await order_of(*keys, routine={first}) == [second, third, first]

    async def process(key: Key) -> None:
        return

    queue = WorkQueue(process, workers=1, priority=lambda key: Priority.SERVES)
    queue.add(first, routine=True)
    queue.add(first)
    queue._move_due_keys()
    assert queue.depths() == {"new": 0, "serves": 1, "changed": 0, "waits": 0, "routine": 0, "delayed": 0}


async def test_what_changes_while_it_waits_moves_to_a_more_urgent_line_and_never_back() -> None:
    """Else a spec that is changed in a storm waits for all those that wait for a hub."""
    seen: list[Key] = []

    async def process(key: Key) -> None:
        seen.append(key)

    priorities: dict[Key, Priority] = {}
    queue = WorkQueue(process, workers=1, priority=lambda key: priorities.get(key, Priority.WAITS))
    keys = [Key("ns", f"waits{n:02}") for n in range(20)]
    for key in keys:
        queue.add(key)
    queue._move_due_keys()
    priorities[keys[15]] = Priority.CHANGED
    queue.add(keys[15])
    priorities[keys[15]] = Priority.ROUTINE
    queue.add(keys[15])
    assert queue.depths() == {"new": 0, "serves": 0, "changed": 1, "waits": 19, "routine": 0, "delayed": 0}
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(5):
        while len(seen) < len(keys):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen.index(keys[15]) <= 1
    assert sorted(seen) == keys, "each once"
