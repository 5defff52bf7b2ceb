"""Events are kept once and in order, whichever instances believe it is their turn, on a real node of NATS."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.kv import KeyValue

from edge_agent.mqtt.contract.payloads import encode
from edge_agent.tools.fleet.backbone import EVENTS_STREAM, Backbone, Login, Topic, connect
from edge_agent.tools.fleet.events import TURNS, Events, Turn, TurnLostError
from tests.mqtt import samples
from tests.tools.fleet.nats import Node

DEVICES = 4
SEQS = [1, 2, 3, 2, 1, 3, 7, 8, 8, 9, *range(7, 60)]  # as a device sends again what was not acknowledged
EXPECTED = sorted(set(SEQS))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("nats"), "n1") as running:
        yield running


@asynccontextmanager
async def prepared(node: Node, base: str) -> AsyncIterator[tuple[Client, Backbone, KeyValue]]:
    client = await connect(Login((node.url,)), "test")
    backbone = Backbone(client, base, 1)
    store = await backbone.prepare()
    yield client, backbone, store
    await client.close()


async def publish(backbone: Backbone, seqs: list[int]) -> None:
    for seq in seqs:
        for number in range(DEVICES):
            subject = f"$MQTT.msgs.{backbone.base}.{backbone.base}{number}.event"
            await backbone.stream.publish(subject, encode(samples.changed(seq)))


async def kept(backbone: Backbone) -> list[list[int]]:
    found = []
    for number in range(DEVICES):
        subject = f"edge_agent_event.{backbone.base}{number}._"
        reader = await backbone.stream.pull_subscribe(subject, stream=EVENTS_STREAM)
        found.append([json.loads(message.data)["seq"] for message in await reader.fetch(200, timeout=2)])
    return found


async def shown(_: Topic, __: Msg) -> None:
    """Nobody looks."""


def events(backbone: Backbone, turn: Turn, counts: Counter[str]) -> Events:
    def count(what: str) -> None:
        counts[what] += 1

    return Events(backbone, "events", turn, count, shown)


async def enough(counts: Counter[str], messages: int) -> None:
    for _ in range(600):
        if sum(counts.values()) >= messages:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(counts)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_two_that_both_believe_it_is_their_turn_keep_each_event_once_and_in_order(node: Node) -> None:
    async def scenario() -> tuple[list[list[int]], Counter[str]]:
        counts: Counter[str] = Counter()
        async with (
            prepared(node, "both") as (_, one, store),
            prepared(node, "both") as (_, two, other),
        ):
            tasks = [
                asyncio.create_task(events(one, Turn(store, f"{TURNS}one"), counts).follow()),
                asyncio.create_task(events(two, Turn(other, f"{TURNS}two"), counts).follow()),
            ]
            await publish(one, SEQS)
            await enough(counts, 2 * len(SEQS) * DEVICES)
            for task in tasks:
                await ended(task)
            return await kept(one), counts

    found, counts = asyncio.run(scenario())
    assert found == [EXPECTED] * DEVICES
    assert counts["events"] == len(EXPECTED) * DEVICES


def test_the_next_instance_goes_on_where_the_last_one_was_killed(node: Node) -> None:
    async def scenario() -> list[list[int]]:
        async with prepared(node, "next") as (_, backbone, store):
            await publish(backbone, SEQS)
            for owner in ("first", "second"):
                counts: Counter[str] = Counter()
                turn = Turn(store, f"{TURNS}next", "me")
                task = asyncio.create_task(events(backbone, turn, counts).follow())
                await enough(counts, 20 if owner == "first" else len(SEQS) * DEVICES)
                await ended(task)
            return await kept(backbone)

    assert asyncio.run(scenario()) == [EXPECTED] * DEVICES


def test_a_turn_is_taken_from_whoever_is_silent_and_is_lost_to_whoever_has_taken_it(node: Node) -> None:
    async def scenario() -> None:
        now_s = 0.0

        async def sleep(seconds: float) -> None:
            nonlocal now_s
            now_s += seconds

        async with prepared(node, "turn") as (_, _, store):
            one = Turn(store, f"{TURNS}t", "one", lambda: now_s, sleep)
            two = Turn(store, f"{TURNS}t", "two", lambda: now_s, sleep)
            assert await one.wait() == 0
            await one.go_on(17)
            assert await two.wait() == 17
            assert now_s >= 10
            with pytest.raises(TurnLostError):
                await one.go_on(18)
            await two.go_on(19)
            waited_from_s = now_s
            assert await Turn(store, f"{TURNS}t", "two", lambda: now_s, sleep).wait() == 19
            assert now_s == waited_from_s

    asyncio.run(scenario())


def test_a_turn_that_somebody_has_damaged_is_begun_anew(node: Node) -> None:
    async def scenario() -> None:
        async with prepared(node, "damaged") as (_, _, store):
            await store.put(f"{TURNS}d", b"\xff{")
            assert await Turn(store, f"{TURNS}d").wait() == 0

    asyncio.run(scenario())


def test_what_was_known_of_places_goes_with_mqtt_s_stream(node: Node) -> None:
    async def scenario() -> list[list[int]]:
        async with prepared(node, "anew") as (_, backbone, store):
            await Turn(store, f"{TURNS}events").wait()
            await publish(backbone, [1, 2])
            await backbone.stream.delete_stream("$MQTT_msgs")
            turn = Turn(await backbone.prepare(), f"{TURNS}events")
            await publish(backbone, [2, 3])
            counts: Counter[str] = Counter()
            task = asyncio.create_task(events(backbone, turn, counts).follow())
            await enough(counts, 2 * DEVICES)
            await ended(task)
            return await kept(backbone)

    assert asyncio.run(scenario()) == [[2, 3]] * DEVICES
