"""Names of children: two resources of a namespace share none, whatever their names."""

from __future__ import annotations

from itertools import product

from tacho_operator.core import names

PARTS = ("a", "b", "live", "facts", "inspect", "probe", "avoid", "0123456789", "012345", "1")
"""What the names of children are made of: a resource's name may look like a child's of another."""
HASHES, ATTEMPTS = ("0123456789", "abcdef0123"), (1, 12)


def children(name: str, found: str, attempt: int) -> set[tuple[str, str]]:
    """Kind and name of each child, by a hash and an attempt; a node's digest is as long as a hash."""
    return {
        ("Service", names.service_name(name)),
        ("ConfigMap", names.live_config_name(name)),
        ("ConfigMap", names.facts_config_name(name)),
        ("Deployment", names.revision_name(name, found)),
        ("Pod", names.inspect_pod_name(name, found, attempt)),
        ("Pod", names.probe_pod_name(name, found)),
        ("Pod", names.marker_pod_name(name, found)),
    }


def test_no_child_of_one_has_the_name_of_anothers() -> None:
    """Each child's name begins with its resource's: only a longer name of a resource could be mistaken."""
    cases = tuple(product(HASHES, ATTEMPTS))
    mine = set().union(*(children("a", *case) for case in cases))
    for parts in (*product(PARTS), *product(PARTS, PARTS), *product(PARTS, PARTS, PARTS)):
        other = "-".join(("a", *parts))
        assert not mine & set().union(*(children(other, *case) for case in cases)), other


def test_the_longest_name_leaves_room_for_every_childs() -> None:
    longest = max(len(name) for _, name in children("a" * 40, "0" * names.HASH_LENGTH, 9_999_999))
    assert longest <= 63
