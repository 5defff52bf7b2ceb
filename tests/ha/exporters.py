"""The two exporters that docs/monitoring.md names, started in the root with the files that it ships."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ha.conftest import EXAMPLES
from tests.mqtt.brokers import HOST, Mosquitto, answers, free_port, wait_until
from tests.test_monitoring import environment

NAMES = ("mqtt-exporter", "mqtt2prometheus")


@contextmanager
def exporter(name: str, root: Path, broker: Mosquitto) -> Iterator[int]:
    """One that runs; the port that it answers on."""
    port = free_port()
    command = {"mqtt-exporter": _mqtt_exporter, "mqtt2prometheus": _mqtt2prometheus}[name](root, broker, port)
    with subprocess.Popen(["chroot", str(root), *command], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port), 30)
            yield port
        finally:
            process.kill()


def _mqtt_exporter(_: Path, broker: Mosquitto, port: int) -> list[str]:
    own = {"MQTT_ADDRESS": HOST, "MQTT_PORT": str(broker.port), "PROMETHEUS_PORT": str(port)}
    given = [f"{name}={value}" for name, value in (environment() | own).items()]
    return ["/usr/bin/env", "-i", *given, "/opt/exporter/bin/mqtt-exporter"]


def _mqtt2prometheus(root: Path, broker: Mosquitto, port: int) -> list[str]:
    shipped = (EXAMPLES / "mqtt2prometheus.yaml").read_text(encoding="utf-8")
    config = shipped.replace("tcp://broker.home:1883", f"tcp://{HOST}:{broker.port}")
    assert config != shipped
    (root / "tmp/mqtt2prometheus.yaml").write_text(config, encoding="utf-8")
    listening = ["-listen-address", HOST, "-listen-port", str(port)]
    return ["prometheus-mqtt-exporter", "-config", "/tmp/mqtt2prometheus.yaml", *listening]
