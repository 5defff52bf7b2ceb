"""A change goes to a group in waves, against a real broker; one that makes a wave worse is taken back."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import ModelError, UsageError
from edge_agent.model.source import model_source
from edge_agent.mqtt.contract.message import Incoming, Message
from edge_agent.mqtt.contract.payloads import GroupInfo, Refusal, encode, utc
from edge_agent.mqtt.contract.topics import Topics, wanted_topic
from edge_agent.mqtt.contract.wanted import Wanted, read_wanted
from edge_agent.mqtt.wire.connection import Connection
from edge_agent.system.clock import SystemClock
from edge_agent.tools.fleet.field import Field
from edge_agent.tools.fleet.judge import Limits, waves
from edge_agent.tools.fleet.key import public_key
from edge_agent.tools.fleet.push import MODEL_TAKE_S, Ledger, Pace, Push, read_model, read_settings
from tests.install.bundles import bundle, sha256
from tests.mqtt import samples
from tests.mqtt.brokers import Mosquitto, wait_until
from tests.mqtt.samples import broker_config

GROUP = "porches"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
QUICK = Pace(shares=(0.5,), gather_s=0.3, take_s=10, watch_s=0.3, step_s=0.05)
MODEL = model_source({"url": "https://models.example/good.tar", "sha256": "a" * 64, "bytes": 9})
WORSE = model_source({"url": "https://models.example/bad.tar", "sha256": "b" * 64, "bytes": 9})
GOOD, BAD = "Z29vZA==", "YmFk"
NAMES = tuple(f"cam{number}" for number in range(6))


class Devices:
    """Six devices at a broker, which follow their group; more frames are unknown with a high threshold."""

    def __init__(self, port: int) -> None:
        self.settings: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
        self.documents: list[Wanted] = []
        self.heads: dict[str, dict[str, str]] = {name: {} for name in NAMES}
        self.models: dict[str, str] = dict.fromkeys(NAMES, "")
        self.restarted_s: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        self._ended = threading.Event()
        self._connection = Connection(broker_config(port), "devices", "5", environment={})
        self._connection.open(SystemClock())
        self._connection.subscribe(wanted_topic("edge_agent", GROUP), retained=True)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Devices:
        self._say("")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close(goodbye=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            for item in self._connection.step(0.05):
                if isinstance(item, Incoming):
                    wanted = read_wanted(item.payload, public_key(KEY), GROUP)
                    self.documents.append(wanted)
                    self._have_models(wanted)
                    for name in NAMES:
                        self.settings[name] = dict(wanted.of(name).settings)
                        self.heads[name] = dict(wanted.of(name).heads)
                    self._say(wanted.revision)

    def _have_models(self, wanted: Wanted) -> None:
        """Fetch them, restart with them and try them, which takes a while."""
        models = {name: found.sha256 for name in NAMES if (found := wanted.of(name).model)}
        concerned = {name for name in NAMES if models.get(name, "") != self.models[name]}
        self.models |= {name: models.get(name, "") for name in concerned}
        if concerned:
            self._say(wanted.revision, concerned)
            time.sleep(0.1)
            self.restarted_s |= dict.fromkeys(concerned, time.time())
            time.sleep(0.3)

    def _say(self, revision: str, pending: Collection[str] = ()) -> None:
        for name in pending or NAMES:
            topics = Topics("edge_agent", name)
            is_refused = self.models[name] == WORSE.sha256 and name not in pending
            group = GroupInfo(
                GROUP,
                revision,
                self.documents[-1].sequence if self.documents else 0,
                False,
                tuple(self.settings[name]),
                refused=(Refusal("model", "unknown rose from 0 to 100 %"),) if is_refused else (),
                model=self.models[name],
                pending=name in pending,
            )
            info = dataclasses.replace(samples.info(), groups=(group,))
            is_bad = (
                self.settings[name].get("stabilizer.threshold", 0) > 0.9 or BAD in self.heads[name].values()
            )
            unknown = 80.0 if is_bad else 5.0
            health = dataclasses.replace(
                samples.health(),
                ts=utc(time.time()),
                unknown_percent=unknown,
                uptime_s=time.time() - self.restarted_s[name],
            )
            self._connection.send(Message(topics.info, encode(info), retain=True))
            if name in pending:  # more at a time than a broker takes would be dropped
                continue
            self._connection.send(Message(topics.health, encode(health), retain=True))


@pytest.fixture
def devices(broker: Mosquitto) -> Iterator[Devices]:
    with Devices(broker.port) as running:
        yield running


@pytest.fixture
def push(broker: Mosquitto, devices: Devices, tmp_path: Path) -> Iterator[Push]:
    assert devices
    clock = SystemClock()
    field = Field(broker_config(broker.port), clock, time.sleep, {})
    ledger = Ledger(tmp_path, GROUP, clock)
    yield Push(field, ledger, "edge_agent", GROUP, KEY.sign, clock, lambda _: None, QUICK, Limits())
    field.close()


def carry_out(push: Push, revision: str, settings: dict[str, object]) -> bool:
    push.begin(push.plan(revision, settings))
    return push.go_on()


def audit(tmp_path: Path) -> list[str]:
    return [json.loads(line)["what"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


def test_a_good_change_reaches_all_in_waves_and_is_what_is_wanted_from_then_on(
    push: Push, devices: Devices, tmp_path: Path
) -> None:
    assert carry_out(push, "calm", {"stabilizer.window": 5})
    wait_until(lambda: len(devices.documents) == 4)
    assert [len(document.devices) for document in devices.documents] == [1, 3, 6, 0]
    assert all(settings == {"stabilizer.window": 5} for settings in devices.settings.values())
    assert push.ledger.load().settings == {"stabilizer.window": 5}
    assert audit(tmp_path) == ["begun", "wave", "good", "wave", "good", "wave", "good", "done"]
    sequences = [document.sequence for document in devices.documents]
    assert sequences == sorted(set(sequences))


def test_a_bad_change_is_stopped_at_the_first_device_and_taken_back(
    push: Push, devices: Devices, tmp_path: Path
) -> None:
    assert carry_out(push, "calm", {"stabilizer.window": 5})
    wait_until(lambda: len(devices.documents) == 4)
    devices.documents.clear()
    assert not carry_out(push, "strict", {"stabilizer.threshold": 0.95})
    wait_until(lambda: len(devices.documents) == 2)
    assert [len(document.devices) for document in devices.documents] == [1, 0]
    assert all(settings == {"stabilizer.window": 5} for settings in devices.settings.values())
    assert audit(tmp_path)[-1] == "taken back"
    assert push.ledger.load().running is None


def test_a_bad_head_is_stopped_and_taken_back_to_the_good_one(push: Push, devices: Devices) -> None:
    push.begin(push.plan("taught", {}, {"frame": GOOD}))
    assert push.go_on()
    push.begin(push.plan("worse", {}, {"frame": BAD}))
    assert not push.go_on()
    wait_until(lambda: all(heads == {"frame": GOOD} for heads in devices.heads.values()))
    assert push.ledger.load().heads == {"frame": GOOD}


def test_a_model_reaches_all_in_waves_although_devices_restart_with_it(
    push: Push, devices: Devices, tmp_path: Path
) -> None:
    push.begin(push.plan("lite0", {}, model=MODEL))
    assert push.go_on()
    wait_until(lambda: len(devices.documents) == 4)
    assert set(devices.models.values()) == {MODEL.sha256}
    assert push.ledger.load().model == MODEL.plain()
    begun = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[0])
    assert begun["model"] == {"sha256": MODEL.sha256, "bytes": 9}


def test_a_model_that_a_device_takes_back_is_stopped_and_all_have_the_one_from_before(
    push: Push, devices: Devices, tmp_path: Path
) -> None:
    push.begin(push.plan("lite0", {}, model=MODEL))
    assert push.go_on()
    push.begin(push.plan("worse", {}, model=WORSE))
    assert not push.go_on()
    wait_until(lambda: set(devices.models.values()) == {MODEL.sha256})
    last = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
    assert any("refuses: porches: model: unknown rose" in reason for reason in last["reasons"])
    assert push.ledger.load().model == MODEL.plain()


def test_a_model_is_pinned_by_the_bundle_that_its_owner_has(tmp_path: Path) -> None:
    bundle_file, url = tmp_path / "x.tar", "https://models.example/x.tar"
    bundle_file.write_bytes(bundle(("model.json", b"{}")))
    made = read_model(url, bundle_file)
    assert made == model_source(
        {"url": url, "sha256": sha256(bundle_file.read_bytes()), "bytes": bundle_file.stat().st_size}
    )
    assert read_model(None, None) is None
    with pytest.raises(UsageError, match="belong together"):
        read_model(url, None)
    with pytest.raises(ModelError, match="HTTPS"):
        read_model("http://models.example/x.tar", bundle_file)
    for content in (b"", b"no bundle", bundle(("other", b"x"))):
        bundle_file.write_bytes(content)
        with pytest.raises(UsageError, match="is no bundle"):
            read_model(url, bundle_file)


def test_with_a_model_there_is_time_for_a_slow_line() -> None:
    assert (QUICK.with_model().take_s, QUICK.with_model().watch_s) == (MODEL_TAKE_S, QUICK.watch_s)


def test_a_push_that_was_interrupted_goes_on_with_the_wave_that_it_was_in(
    push: Push, devices: Devices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push.begin(push.plan("calm", {"stabilizer.window": 5}))
    with monkeypatch.context() as patch:
        patch.setattr(Push, "_next", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            push.go_on()
    with pytest.raises(UsageError, match="calm has not ended"):
        push.begin(push.plan("other", {}))
    assert push.go_on()
    assert all(settings == {"stabilizer.window": 5} for settings in devices.settings.values())
    assert audit(tmp_path).count("done") == 1


def test_a_push_under_way_can_be_taken_back_by_hand(push: Push, devices: Devices) -> None:
    push.begin(push.plan("calm", {"stabilizer.window": 5}))
    push.take_back(["the owner said so"])
    assert push.ledger.load().running is None
    with pytest.raises(UsageError, match="no push"):
        push.take_back([])
    assert not any(devices.settings.values())


def test_a_group_without_a_device_is_said(broker: Mosquitto, push: Push) -> None:
    assert broker
    push.group = "yards"
    with pytest.raises(UsageError, match="no device of the group yards"):
        push.plan("calm", {})


def test_a_ledger_that_is_damaged_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / f"{GROUP}.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        Ledger(tmp_path, GROUP, SystemClock()).load()


def test_settings_are_read_as_json_and_else_as_text() -> None:
    assert read_settings(["a.b=5", "c=true", 'd=["x"]', "e=debug"]) == {
        "a.b": 5,
        "c": True,
        "d": ["x"],
        "e": "debug",
    }
    with pytest.raises(UsageError, match="KEY=VALUE"):
        read_settings(["a"])


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [1, 1]), (10, [1, 9]), (100, [1, 9, 90]), (1000, [1, 99, 900])]
)
def test_waves_are_one_then_a_tenth_then_all(count: int, sizes: list[int]) -> None:
    names = [str(number) for number in range(count)]
    made = waves(names, (0.1,))
    assert [len(wave) for wave in made] == sizes
    assert [name for wave in made for name in wave] == names
