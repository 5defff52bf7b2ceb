"""Many devices in one process, with the daemon's own payloads, outboxes and connections.

Run as `python -m tests.tools.fleet.simulated DIRECTORY FIRST COUNT EVENT_S HEALTH_S HOST:PORT...`. Each makes
an event every EVENT_S on average, and writes into DIRECTORY/ledger-FIRST what it has handed over,
`event NAME SEQ`, and `back NAME SECONDS` for each time it was without a broker. Ends on SIGTERM, once all is
acknowledged.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from edge_agent.config.schema import MqttConfig, OutboxConfig
from edge_agent.mqtt.contract.payloads import LabelChanged, utc
from edge_agent.mqtt.contract.topics import Topics
from edge_agent.mqtt.events.outbox import Outbox, open_outbox
from edge_agent.mqtt.events.sequence import SequenceNumbers
from edge_agent.mqtt.publisher import Publisher
from edge_agent.mqtt.wire.status import BrokerStatus
from edge_agent.system.clock import SystemClock
from tests.mqtt import samples

_LONGEST_END_S = 120.0


class Device:
    """One simulated device."""

    def __init__(self, name: str, directory: Path, config: MqttConfig, ledger: int) -> None:
        self.name = name
        self._ledger = ledger
        self._clock = SystemClock()
        self._lost_s: float | None = None
        places = {"STATE_DIRECTORY": str(directory / "state"), "RUNTIME_DIRECTORY": str(directory / "run")}
        self.outbox: Outbox = open_outbox(OutboxConfig(), self._clock, places)
        self._sequence = SequenceNumbers(
            directory / "state" / "sequence", self._clock, floor=self.outbox.newest
        )
        self.publisher = Publisher(
            config,
            Topics("edge_agent", name),
            clock=self._clock,
            events=self.outbox,
            on_status=self._on_status,
            environment={},
        )
        self.publisher.publish_info(samples.info())
        self.publisher.start()

    def event(self) -> None:
        seq = self._sequence.next()
        self.publisher.publish_event(LabelChanged(seq, utc(self._clock.time_s()), True, "cat", "dog", 0.5))
        self._note(f"event {self.name} {seq}")

    def health(self, interval_s: float) -> None:
        health = dataclasses.replace(
            samples.health(),
            ts=utc(self._clock.time_s()),
            interval_s=interval_s,
            mqtt=self.publisher.status.health(),
        )
        self.publisher.publish_health(health)

    def stop(self) -> None:
        self.publisher.stop(5.0)
        self.outbox.close()

    def _on_status(self, status: BrokerStatus) -> None:
        now_s = self._clock.monotonic_s()
        if not status.connected:
            self._lost_s = self._lost_s or now_s
        elif self._lost_s is not None:
            self._note(f"back {self.name} {now_s - self._lost_s:.2f}")
            self._lost_s = None

    def _note(self, line: str) -> None:
        os.write(self._ledger, f"{line}\n".encode())


def main(
    directory: Path, first: int, count: int, event_s: float, health_s: float, hosts: tuple[str, ...]
) -> None:
    logging.disable()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    ledger = os.open(directory / f"ledger-{first}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    config = MqttConfig(hosts=hosts, keepalive_s=10, protocol="3.1.1")
    devices = [
        Device(f"d{n:04}", directory / f"d{n:04}", config, ledger) for n in range(first, first + count)
    ]
    for device in devices:
        device.event()
    dues_s = [time.monotonic() + random.random() * health_s for _ in devices]
    while not stopping.wait(event_s / count):
        random.choice(devices).event()
        for index, device in enumerate(devices):
            if time.monotonic() >= dues_s[index]:
                dues_s[index] = time.monotonic() + health_s
                device.health(health_s)
    end_s = time.monotonic() + _LONGEST_END_S
    while any(len(device.outbox) for device in devices) and time.monotonic() < end_s:
        time.sleep(0.1)
    for device in devices:
        device.stop()


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        float(sys.argv[4]),
        float(sys.argv[5]),
        tuple(sys.argv[6:]),
    )
