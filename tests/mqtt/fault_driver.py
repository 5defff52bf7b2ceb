"""The publishing half of an agent, to be killed: makes events, and writes down which ones it handed over.

Run as `python -m tests.mqtt.fault_driver PORT DIRECTORY`; ends on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from edge_agent.config.schema import OutboxConfig
from edge_agent.mqtt.contract.payloads import LabelChanged, utc
from edge_agent.mqtt.events.outbox import open_outbox
from edge_agent.mqtt.events.sequence import SequenceNumbers
from edge_agent.mqtt.publisher import Publisher
from edge_agent.system.clock import SystemClock
from tests.mqtt.samples import TOPICS, broker_config

_PAUSE_S = 0.001


def main(port: int, directory: Path) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    clock = SystemClock()
    places = {"STATE_DIRECTORY": str(directory / "state"), "RUNTIME_DIRECTORY": str(directory / "run")}
    outbox = open_outbox(OutboxConfig(max_rows=1_000_000, max_mb=1000), clock, places)
    sequence = SequenceNumbers(directory / "state" / "sequence", clock, floor=outbox.newest)
    publisher = Publisher(broker_config(port), TOPICS, clock=clock, events=outbox, environment={})
    publisher.start()
    ledger = os.open(directory / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while not stopping.wait(_PAUSE_S):
        seq = sequence.next()
        publisher.publish_event(LabelChanged(seq, utc(clock.time_s()), True, "cat", "dog", 0.5))
        os.write(ledger, f"{seq}\n".encode())
    publisher.stop(1.0)
    outbox.close()
    sequence.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
