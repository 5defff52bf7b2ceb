"""Names are looked up with an end to the wait, whatever the resolver does."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edge_agent.system.lookup import Lookup
from tests.resolver import ANSWER, HangingResolver


@pytest.fixture
def resolver() -> Iterator[HangingResolver]:
    with HangingResolver() as made:
        yield made


def test_the_system_s_own_resolver_is_asked() -> None:
    found = Lookup().addresses("127.0.0.1", 1883, lambda: 5)
    assert [address for *_, address in found] == [("127.0.0.1", 1883)]


@pytest.mark.parametrize(
    ("host", "error"), [("no-such-host.invalid", socket.gaierror), ("a..b", UnicodeError)]
)
def test_what_the_resolver_raises_is_raised(host: str, error: type[Exception]) -> None:
    lookup = Lookup()
    for _ in range(2):
        with pytest.raises(error):
            lookup.addresses(host, 1883, lambda: 5)


def test_a_resolver_that_hangs_is_not_waited_for_and_asked_once(
    resolver: HangingResolver,
) -> None:
    lookup = Lookup(resolver)
    for _ in range(5):
        with pytest.raises(socket.gaierror, match="the name server does not answer"):
            lookup.addresses("broker.home", 1883, lambda: 0.01)
    with pytest.raises(socket.gaierror):
        lookup.addresses("camera.home", 80, lambda: 0.01)
    assert resolver.asked == ["broker.home", "camera.home"]


def test_an_answer_that_was_too_late_is_there_for_the_next_one_who_asks(resolver: HangingResolver) -> None:
    lookup = Lookup(resolver)
    with pytest.raises(socket.gaierror):
        lookup.addresses("broker.home", 1883, lambda: 0.01)
    resolver.release()
    assert lookup.addresses("broker.home", 1883, lambda: 5) == ANSWER
    assert resolver.asked == ["broker.home"]
    assert lookup.addresses("broker.home", 1883, lambda: 5) == ANSWER
    assert resolver.asked == ["broker.home"] * 2


def test_without_time_left_nothing_is_awaited(resolver: HangingResolver) -> None:
    def left_s() -> float:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Lookup(resolver).addresses("broker.home", 1883, left_s)


def test_each_address_of_a_name_comes_first_in_its_turn() -> None:
    lookup = Lookup(lambda *_, **__: ["one", "two", "three"])
    found = []
    for _ in range(4):
        found.append(lookup.addresses("broker", 1883, lambda: 5))
        lookup.turn()
    assert [addresses[0] for addresses in found] == ["one", "two", "three", "one"]
    assert all(sorted(addresses) == ["one", "three", "two"] for addresses in found)
