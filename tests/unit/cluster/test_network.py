"""Addresses of clusters never meet each other or the machine's routes."""

import itertools
from ipaddress import IPv4Network

from hypothesis import given, strategies as st

from tools.cluster.network import SLOTS, Network, free_slots

addresses = st.integers(0, 2**32 - 1) | st.builds(
    lambda slot, near: int(Network(slot).ranges()[near % 3].network_address) + near - 2**16,
    st.integers(0, SLOTS - 1),
    st.integers(0, 2**17),
)
"""Anywhere, or near the ranges of a slot, where it matters."""
routes = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), addresses, st.integers(4, 32)
)


def test_slots_do_not_overlap() -> None:
    ranges = [cidr for slot in range(SLOTS) for cidr in Network(slot).ranges()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))


@given(st.lists(routes, max_size=5))
def test_a_free_slot_meets_no_route_and_every_other_slot_does(taken: list[IPv4Network]) -> None:
    free = {network.slot for network in free_slots(taken)}
    for slot in range(SLOTS):
        meets = any(ours.overlaps(theirs) for ours in Network(slot).ranges() for theirs in taken)
        assert meets != (slot in free)


def test_a_machine_that_routes_all_private_addresses_has_no_slot() -> None:
    assert free_slots([IPv4Network("10.0.0.0/8")]) == []


def test_the_node_and_the_first_service_have_the_addresses_certificates_name() -> None:
    network = Network(7)
    assert IPv4Network(network.service_cidr)[1].compressed == network.service_address
    assert network.node_address != network.host_address
