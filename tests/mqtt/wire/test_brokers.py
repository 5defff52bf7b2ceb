"""Several brokers: they are tried in turn, and what is learned of one is not believed of another."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from edge_agent.config.schema import MqttConfig
from edge_agent.mqtt.wire.brokers import Brokers
from edge_agent.mqtt.wire.credentials import address, each_broker
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble
from edge_agent.system.clock import Clock, SystemClock
from edge_agent.system.lookup import Lookup
from edge_agent.tools.demo.broker import embedded_broker
from tests.clock import FakeClock
from tests.mqtt.brokers import HOST, Mosquitto, free_port
from tests.mqtt.hostile import Peer, serve
from tests.mqtt.samples import broker_config


def brokers(
    *ports: int,
    first: float = 0.0,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
    answer_timeout_s: float = 2,
    **changes: object,
) -> Brokers:
    config = broker_config(0, hosts=tuple(f"{HOST}:{port}" for port in ports), **changes)
    return Brokers(
        config,
        "agent",
        clock or SystemClock(),
        environment={},
        answer_timeout_s=answer_timeout_s,
        first=first,
        lookup=lookup,
    )


def port_of(dialled: Brokers) -> int:
    connection = dialled.dial()
    connection.close(goodbye=True)
    return int(connection.address.rpartition(":")[2])


def test_each_broker_has_the_settings_of_all_and_its_own_port() -> None:
    config = MqttConfig(hosts=("one", "two:1884", "[::1]:1885", "::2"), port=1888, username="me")
    assert [address(each) for each in each_broker(config)] == [
        "one:1888", "two:1884", "[::1]:1885", "[::2]:1888",
    ]  # fmt: skip
    assert {each.username for each in each_broker(config)} == {"me"}


def test_without_a_list_there_is_the_one_broker() -> None:
    assert [address(each) for each in each_broker(MqttConfig(host="home"))] == ["home:1883"]


def test_they_are_tried_in_turn_and_then_again_from_the_first(make_broker: Callable[..., Mosquitto]) -> None:
    one, two, three = (make_broker().port for _ in range(3))
    tried = brokers(one, two, three)
    found = []
    for _ in range(4):
        found.append(port_of(tried))
        tried.next()
    assert found == [one, two, three, one]


@pytest.mark.parametrize(("first", "index"), [(0.0, 0), (0.34, 1), (0.999, 2)])
def test_each_of_them_can_be_the_first(
    make_broker: Callable[..., Mosquitto], first: float, index: int
) -> None:
    ports = [make_broker().port for _ in range(3)]
    assert port_of(brokers(*ports, first=first)) == ports[index]


def test_any_is_found_where_one_answers(broker: Mosquitto) -> None:
    connection = brokers(free_port(), broker.port, free_port()).dial_any()
    assert connection.address == f"{HOST}:{broker.port}"
    connection.close(goodbye=True)


def test_where_none_answers_the_last_one_s_trouble_is_said() -> None:
    last = free_port()
    with pytest.raises(BrokerConnectionError, match=f":{last}") as raised:
        brokers(free_port(), last).dial_any()
    assert raised.value.trouble is Trouble.REFUSED


def test_each_is_spoken_to_in_its_own_version(broker: Mosquitto) -> None:
    with embedded_broker() as old:
        tried = brokers(old, broker.port)
        versions = []
        for _ in range(4):
            connection = tried.dial()
            versions.append(connection.protocol)
            connection.close(goodbye=True)
            tried.next()
    assert versions == ["3.1.1", "5", "3.1.1", "5"]


def test_an_address_that_accepts_and_says_nothing_does_not_stand_before_the_others_of_its_name(
    broker: Mosquitto,
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        places = [silent.getsockname(), (HOST, broker.port)]
        lookup = Lookup(lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", it) for it in places])
        tried = brokers(1883, lookup=lookup, protocol="5")
        with pytest.raises(BrokerConnectionError):
            tried.dial()
        tried.dial().close(goodbye=True)


def test_where_an_address_of_a_name_refuses_the_next_one_is_tried_at_once(broker: Mosquitto) -> None:
    places = [("127.0.0.2", free_port()), (HOST, broker.port)]
    lookup = Lookup(lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", it) for it in places])
    brokers(1883, lookup=lookup, protocol="5").dial().close(goodbye=True)


def test_after_a_refusal_the_next_is_tried_at_once_until_all_have_refused() -> None:
    tried = brokers(1, 2, 3)
    assert [tried.next(Trouble.REFUSED) for _ in range(6)] == [True, True, False, True, True, False]


def test_after_other_trouble_the_next_is_not_tried_at_once() -> None:
    tried = brokers(1, 2, 3)
    assert not tried.next(Trouble.SILENT)
    assert tried.next(Trouble.REFUSED)
    assert not tried.next(Trouble.LOST)


def test_a_broker_alone_is_never_tried_again_at_once() -> None:
    assert not brokers(1).next(Trouble.REFUSED)


def troubles(tried: Brokers, attempts: int) -> set[Trouble]:
    found = set()
    for _ in range(attempts):
        with pytest.raises(BrokerConnectionError) as raised:
            tried.dial()
        found.add(raised.value.trouble)
        tried.next(raised.value.trouble)
    return found


def test_what_hangs_up_late_is_in_trouble_and_not_asked_for_less() -> None:
    clock = FakeClock()

    def late(peer: Peer) -> None:
        peer.packet()
        clock.now_s += 4

    with serve(late) as server:
        assert troubles(brokers(server.port, clock=clock, answer_timeout_s=20, protocol="3.1.1"), 6) == {
            Trouble.SILENT
        }
        assert len(server.peers) == 6


def test_of_several_that_hang_up_none_is_asked_for_less() -> None:
    def hangs_up(peer: Peer) -> None:
        peer.packet()

    with serve(hangs_up) as one, serve(hangs_up) as two:
        assert troubles(brokers(one.port, two.port, protocol="3.1.1"), 8) == {Trouble.CLOSED}
        assert len(one.peers) + len(two.peers) == 8


def test_a_broker_that_stalls_between_two_lesser_greetings_keeps_what_it_had() -> None:
    clock = FakeClock()
    greetings = 0

    def behaviour(peer: Peer) -> None:
        nonlocal greetings
        greetings += 1
        if greetings in (4, 6):  # the first with less, and the one that would settle it
            peer.accept()
        else:
            peer.packet()
            clock.now_s += 4 * (greetings > 3)

    with serve(behaviour) as server:
        tried = brokers(server.port, clock=clock, answer_timeout_s=20, protocol="3.1.1")
        troubles(tried, 3)
        assert greetings == 5
        connection = tried.dial()
        connection.close(goodbye=True)
        assert connection.limits.qos == 1
        assert connection.limits.retain
