"""`fleet push --model` to real daemons: a good model reaches both, a bad one is taken back at the first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.errors import EXIT_FAILURE, EXIT_OK
from edge_agent.model.sidecar import Artifact, files_sha256, read_sidecar, write_sidecar
from edge_agent.mqtt.contract.message import Incoming
from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.tools.fleet.key import make_key
from edge_agent.tools.installer.bundle import write_bundle
from tests.daemon.conftest import StartDaemon, settings, start
from tests.daemon.restarting import restarted
from tests.daemon.test_teaching import another_model
from tests.install.server import file, serving
from tests.mqtt.brokers import HOST, Mosquitto, collect
from tests.mqtt.wire.certificates import Authority

__all__ = ["settings", "start"]

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

NAMES = ("porch", "gate")


def lean(artifact: Artifact, directory: Path) -> Path:
    """The same network with the files of a plan alone: another model by its hash."""
    shutil.copytree(artifact.directory, directory)
    files = {role: found for role, found in artifact.sidecar.files.items() if role.startswith("xnnpack")}
    write_sidecar(directory, replace(artifact.sidecar, files=files, sha256=files_sha256(files)))
    return directory


def info(broker: Mosquitto, name: str, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What a device says of itself, once it is that."""

    def is_it(message: Incoming) -> bool:
        return accept(json.loads(message.payload))

    with Subscriber(HOST, broker.port, f"edge_agent/{name}/info") as found:
        return dict(json.loads(collect(found, is_it, 60)[-1].payload))


def test_a_good_model_reaches_both_and_a_bad_one_is_taken_back_at_the_first(
    start: StartDaemon, broker: Mosquitto, lite0: Artifact, tmp_path: Path
) -> None:
    bundles = {
        "good": write_bundle(read_sidecar(lean(lite0, tmp_path / "lean")), tmp_path / "good.tar"),
        "bad": write_bundle(read_sidecar(another_model(tmp_path / "other")), tmp_path / "bad.tar"),
    }
    dog = tmp_path / "dog"
    dog.mkdir()
    shutil.copy(PICTURES_DIR / "dog.jpg", dog)
    (tmp_path / "broker.yaml").write_text(f"mqtt: {{host: {HOST}, port: {broker.port}}}\n")
    key = make_key(tmp_path / "owner.pem")
    answers = {f"/{name}.tar": file((tmp_path / f"{name}.tar").read_bytes()) for name in bundles}
    with serving(Authority(tmp_path, "authority"), answers) as site, ExitStack() as stack:
        for name in NAMES:
            daemon = start(
                device_id=name,
                source={"fps": 5, "folder": {"path": str(dog)}},
                stabilizer={"threshold": 0.82},
                control={"allow_model": True, "model_ca_file": str(site.ca_file), "model_watch_s": 4},
                fleet={"groups": ["porches"], "public_key": key},
            )
            stack.enter_context(restarted(daemon))
        for name in NAMES:
            info(broker, name, lambda said: said["model"]["sha256"] == lite0.sidecar.sha256)

        def push(name: str) -> int:
            return main(
                [
                    "fleet", "push", "--config", str(tmp_path / "broker.yaml"), "--group", "porches",
                    "--key", str(tmp_path / "owner.pem"), "--state", str(tmp_path / "fleet"),
                    "--watch-s", "4", "--take-s", "120", "--name", name,
                    "--model", site.url(f"/{name}.tar"), "--model-file", str(tmp_path / f"{name}.tar"),
                ]
            )  # fmt: skip

        assert push("good") == EXIT_OK
        lean_sha256 = read_sidecar(tmp_path / "lean").sidecar.sha256
        for name in NAMES:
            said = info(broker, name, lambda said: said["model"]["sha256"] == lean_sha256)
            assert said["groups"][0]["model"] == bundles["good"].sha256
        assert push("bad") == EXIT_FAILURE
        lines = [json.loads(line) for line in (tmp_path / "fleet/audit.jsonl").read_text().splitlines()]
        assert [line["what"] for line in lines[-3:]] == ["begun", "wave", "taken back"]
        assert len(lines[-2]["devices"]) == 1
        assert "refuses: porches: model: unknown rose from 0 to 100 %" in lines[-1]["reasons"][0]
        for name in NAMES:
            said = info(
                broker,
                name,
                lambda said: said["groups"][0]["revision"] == "good" and not said["groups"][0]["refused"],
            )
            assert said["model"]["sha256"] == lean_sha256
            assert said["groups"][0].get("pending") is None
        assert site.asked.count("/bad.tar") == 1
