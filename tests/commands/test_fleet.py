"""`edge-agent fleet push` and `merge`, as they are typed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from edge_agent.teach import head_file
from edge_agent.teach.fitting import fit
from edge_agent.tools.fleet.key import make_key
from tests.mqtt.brokers import Mosquitto
from tests.teach.worlds import World, backbone
from tests.tools.fleet.test_push import Devices


@pytest.fixture
def call(broker: Mosquitto, tmp_path: Path) -> Iterator[list[str]]:
    make_key(tmp_path / "fleet.pem")
    (tmp_path / "broker.yaml").write_text(f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    with Devices(broker.port):
        yield [
            "fleet", "push", "--config", str(tmp_path / "broker.yaml"), "--key", str(tmp_path / "fleet.pem"),
            "--group", "porches", "--state", str(tmp_path / "state"),
        ]  # fmt: skip


def test_a_dry_run_says_the_waves_and_does_nothing(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*call, "--dry-run", "--name", "calm", "stabilizer.window=5"]) == EXIT_OK
    said = capsys.readouterr().err
    assert "6 of 6 devices of porches are there" in said
    assert "wave 1: 1 devices: cam" in said
    assert list((tmp_path / "state").iterdir()) == []


def test_a_push_without_a_name_or_a_setting_is_refused(call: list[str]) -> None:
    assert main([*call, "stabilizer.window=5"]) == EXIT_USAGE
    assert main([*call, "--name", "calm"]) == EXIT_USAGE
    assert main([*call, "--name", "calm", "window"]) == EXIT_USAGE


def test_there_is_nothing_to_take_back_before_a_push(call: list[str]) -> None:
    assert main([*call, "--take-back"]) == EXIT_USAGE
    assert main([*call, "--resume"]) == EXIT_OK


def test_heads_of_cameras_are_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(features=64)
    for name, labels in (("porch", ["a", "b"]), ("gate", ["b", "c"])):
        taught = fit(world.examples(range(3), 2, labels=labels), backbone(64)).head.taught
        head_file.save(tmp_path / f"{name}.head", taught)
    files = [str(tmp_path / f"{name}.head") for name in ("porch", "gate")]
    output = tmp_path / "all.head"
    assert main(["fleet", "merge", "--output", str(output), *files]) == EXIT_OK
    assert "3 labels of 2 heads" in capsys.readouterr().out
    assert head_file.load(output).labels == ("a", "b", "c")
    assert main(["fleet", "merge", "--output", str(output), *files]) == EXIT_USAGE
    assert main(["fleet", "merge", "--output", str(tmp_path / "x"), str(tmp_path / "none")]) == EXIT_FAILURE


def test_what_is_not_installed_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("nats", "edge_agent.tools.fleet"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    assert main(["fleet", "watch", "--server", "nats://127.0.0.1:1"]) == EXIT_USAGE
    assert "pip install 'edge-agent[fleet]'" in capsys.readouterr().err
    assert main(["fleet", "watch", "--server", "nats://x", "--listen", "a:b"]) == EXIT_USAGE
