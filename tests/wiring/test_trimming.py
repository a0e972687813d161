"""Objects come out of the store as they went in, whatever was common when they were packed."""

from __future__ import annotations

from typing import Any

from tacho_operator.shell.store.trimming import LEARNED_FROM, Packing


def thing(number: int, **more: Any) -> dict[str, Any]:
    labels = {f"tacho.dev/label-{index}": f"value-{index}" for index in range(30)}
    return {"metadata": {"name": f"thing-{number}", "labels": labels}, **more}


def test_each_object_is_read_as_it_was() -> None:
    packing = Packing()
    made = [thing(number) for number in range(3 * LEARNED_FROM)]
    texts = [packing.packed(item) for item in made]
    assert [packing.unpacked(text) for text in texts] == made
    assert packing.json(texts[-1]).startswith(b'{"metadata":{"name":"thing-')


def test_what_is_common_takes_no_room_again() -> None:
    packing = Packing()
    texts = [packing.packed(thing(number)) for number in range(LEARNED_FROM + 1)]
    assert len(texts[-1]) < len(texts[0]) / 3


def test_what_has_not_changed_stays_the_same_bytes() -> None:
    """Also where it was packed before anything common was known."""
    packing = Packing()
    first = packing.packed(thing(0))
    texts = [packing.packed(thing(number)) for number in range(1, 2 * LEARNED_FROM)]
    assert packing.packed(thing(0), first) is first
    assert packing.packed(thing(2 * LEARNED_FROM - 1), texts[-1]) is texts[-1]
    changed = packing.packed(thing(0, status="new"), first)
    assert changed is not first
    assert packing.unpacked(changed) == thing(0, status="new")
