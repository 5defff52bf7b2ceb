"""The network between three nodes is cut in half: the smaller half takes nothing, the larger one goes on.

Each node, and each half's devices, are in a network namespace of their own; two bridges connect them, and the
cable between the bridges is cut. FLEET_CUTS says how often; each time the node that leads MQTT's stream is
alone. By a defect of NATS 2.9 its copy can differ from the others' afterwards, so there it is started with
nothing, as docs/fleet.md says; FLEET_EMPTY=yes or no says for any release whether it is. Where it is not, the
copies must agree. Needs root.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.tools.fleet.backbone import MQTT_STREAM
from tests.installed import program
from tests.mqtt.brokers import wait_until
from tests.tools.fleet.nats import Cluster, Place, release
from tests.tools.fleet.running import Load, Watcher, by_device, devices, events_in, ledger, wait_kept

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]

CUTS = int(os.environ.get("FLEET_CUTS", "3"))
DEVICES = 20  # in each half
LOAD = Load(event_s=5.0, health_s=10.0)
CUT_S, ELECTED_S, GRACE_S = 45.0, 25.0, 2.0
SMALLER, LARGER = "half0", "half1"
MEMBERS = ("n1", "n2", "n3", "few", "many")
SUBNET = f"10.213.{os.getpid() % 250}"  # two of these tests may run at once


class Halves:
    """Two bridges, and what is connected to them; a context manager. Raises CalledProcessError where this
    kernel or user may not."""

    def __init__(self) -> None:
        self._ip = program("ip")
        self._name = f"fleet{os.getpid()}"
        self._switch = f"{self._name}-switch"

    def __enter__(self) -> Halves:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for space in (self._switch, *(f"{self._name}-{member}" for member in MEMBERS)):
            subprocess.run([self._ip, "netns", "del", space], capture_output=True, check=False)

    def within(self, member: str) -> tuple[str, ...]:
        """The command that starts a program there."""
        return (self._ip, "netns", "exec", f"{self._name}-{member}")

    def place(self, member: str) -> Place:
        return Place(f"{SUBNET}.{MEMBERS.index(member) + 1}", self.within(member))

    def move(self, member: str, half: str) -> None:
        self._run("-n", self._switch, "link", "set", member, "master", half)

    def cut(self) -> None:
        self._run("-n", self._switch, "link", "set", "cut0", "down")

    def heal(self) -> None:
        self._run("-n", self._switch, "link", "set", "cut0", "up")

    def _build(self) -> None:
        self._run("netns", "add", self._switch)
        switch = ("-n", self._switch, "link")
        for half in (SMALLER, LARGER):
            self._run(*switch, "add", "name", half, "type", "bridge")
            self._run(*switch, "set", half, "up")
        self._run(*switch, "add", "name", "cut0", "type", "veth", "peer", "name", "cut1")
        for end, half in (("cut0", SMALLER), ("cut1", LARGER)):
            self._run(*switch, "set", end, "master", half, "up")
        for number, member in enumerate(MEMBERS, 1):
            space = f"{self._name}-{member}"
            self._run("netns", "add", space)
            self._run("-n", space, "link", "set", "lo", "up")
            self._connect(member, ("-n", space), f"{SUBNET}.{number}", "eth0")
        self._connect("here", (), f"{SUBNET}.100", self._name)
        self.move("few", SMALLER)

    def _connect(self, member: str, inside: tuple[str, ...], address: str, name: str) -> None:
        """Give a namespace an interface; the other end of its cable is in the larger half, named `member`."""
        peer = ("peer", "name", member, "netns", self._switch)
        self._run(*inside, "link", "add", "name", name, "type", "veth", *peer)
        self._run("-n", self._switch, "link", "set", member, "master", LARGER, "up")
        self._run(*inside, "address", "add", f"{address}/24", "dev", name)
        self._run(*inside, "link", "set", name, "up")

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def halves() -> Iterator[Halves]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        made = Halves().__enter__()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    yield made
    made.__exit__()


def is_emptied() -> bool:
    """Whether a node that was cut off is started with nothing."""
    return os.environ.get("FLEET_EMPTY", "yes" if release() < (2, 10) else "no") == "yes"


def test_a_network_cut_in_half_loses_nothing_and_the_smaller_half_takes_nothing(
    halves: Halves, tmp_path: Path
) -> None:
    n1, n2, n3 = (halves.place(name) for name in ("n1", "n2", "n3"))
    cuts: list[tuple[float, float]] = []
    with Cluster(tmp_path / "nats", (n1, n2, n3)) as cluster, ExitStack() as stack:
        for member in ("few", "many"):
            watcher = Watcher(cluster, tmp_path / f"watch-{member}.log", halves.within(member))
            stack.callback(watcher.kill)
            watcher.wait_following()
        few = devices(tmp_path / "devices", cluster, DEVICES, LOAD, within=halves.within("few"))
        many = devices(
            tmp_path / "devices", cluster, DEVICES, LOAD, first=DEVICES, within=halves.within("many")
        )
        with few, many:
            time.sleep(15)
            for number in range(CUTS):
                cuts.append(cut(halves, cluster))
                print(f"cut {number + 1} of {CUTS}, {ledger(tmp_path / 'devices').events} events", flush=True)
        told = ledger(tmp_path / "devices")
        asyncio.run(wait_kept(cluster, told.events, 120))
        found = by_device(asyncio.run(events_in(cluster)))
        taken = asyncio.run(events_in(cluster, MQTT_STREAM))
        differing = cluster.places_that_differ(MQTT_STREAM)
    assert found == told.sent  # none lost, none twice, and each device's in their order
    for cut_s, healed_s in cuts:
        of_few = [event for event in taken if event.device < f"d{DEVICES:04}"]
        of_many = [event for event in taken if event.device >= f"d{DEVICES:04}"]
        assert [event for event in of_few if cut_s + GRACE_S < event.kept_s < healed_s] == []
        waited = [event for event in of_few if cut_s + GRACE_S < event.made_s < healed_s]
        went_on = [event for event in of_many if cut_s + ELECTED_S < event.kept_s < healed_s]
        assert waited
        assert went_on
        print(
            f"{CUT_S:.0f} s: {len(waited)} events of the smaller half waited, and of the larger one"
            f" {len(went_on)} were taken from {ELECTED_S:.0f} s on"
        )
    repeats = len(taken) - told.events
    print(f"{2 * DEVICES} devices, {CUTS} cuts, {told.events} events, {repeats} sent twice: none lost")
    print(f"{differing} places of MQTT's stream on which the three nodes do not agree")
    assert differing == 0 or is_emptied()


def cut(halves: Halves, cluster: Cluster) -> tuple[float, float]:
    """Cut the network for a while, MQTT's leader and half of the devices in the smaller half.

    Returns when it was cut, and when it was healed, in seconds since 1970.
    """
    wait_until(lambda: any(node.leads(MQTT_STREAM) for node in cluster.nodes), 60)
    alone = next(node for node in cluster.nodes if node.leads(MQTT_STREAM))
    halves.move(alone.name, SMALLER)
    time.sleep(1)
    halves.cut()
    cut_s = time.time()
    time.sleep(CUT_S)
    healed_s = time.time()
    halves.heal()
    assert cluster.settle(60)
    halves.move(alone.name, LARGER)
    if is_emptied():
        alone.renew()
        time.sleep(5)  # until the others see that it has nothing
        assert cluster.settle(60)
    return cut_s, healed_s
