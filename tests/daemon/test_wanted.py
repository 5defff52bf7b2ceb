"""A device follows what is wanted of its groups, and nothing that is not signed, or was sent before."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.config.loader import load
from edge_agent.daemon.wanted import WantedState
from edge_agent.errors import ModelError, TeachError
from edge_agent.model.source import ModelSource, model_source
from edge_agent.mqtt.contract.payloads import GroupInfo, Refusal
from edge_agent.mqtt.contract.wanted import Target, Wanted, signed
from edge_agent.system.secret import Secret
from edge_agent.tools.fleet.key import public_key
from tests.daemon.assembled import Assembled

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
FLEET = {"groups": ["yard", "porches"], "public_key": public_key(KEY)}
Send = Callable[..., None]


class FakeHeads:
    """Keeps heads by their regions; refuses some."""

    def __init__(self) -> None:
        self.heads: dict[str, bytes] = {"": b"own"}
        self.taken: list[tuple[str, bytes]] = []

    def head_of(self, region: str) -> bytes:
        return self.heads.get(region, b"")

    def take_head(self, region: str, content: bytes) -> None:
        if content == b"bad":
            raise TeachError("the head cannot be used: it is of another model")
        self.heads[region] = content
        self.taken.append((region, content))


class FakeModels:
    """Remembers what is wanted."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, str, bool]] = []
        self.given_back = 0
        self.problem = ""
        self.pending = True
        self.why = ""

    def want(self, source: ModelSource, group: str, *, once_more: bool = False) -> None:
        if self.problem:
            raise ModelError(self.problem)
        self.wanted.append((source.sha256[:1], group, once_more))

    def give_back(self) -> None:
        self.given_back += 1

    def is_pending(self, sha256: str) -> bool:
        assert len(sha256) == 64
        return self.pending

    def why_not(self, sha256: str) -> str:
        assert len(sha256) == 64
        return self.why


def model(digit: str) -> ModelSource:
    return model_source({"url": f"https://models.example/{digit}.tar", "sha256": digit * 64, "bytes": 9})


def heads(**regions: bytes) -> dict[str, str]:
    return {region: base64.b64encode(content).decode() for region, content in regions.items()}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Assembled]:
    made = Assembled(
        tmp_path, {"device_id": "porch", "source": {"type": "picamera2", "fps": 2}, "fleet": FLEET}
    )
    yield made
    made.close()


def following(agent: Assembled, file: Path) -> WantedState:
    state = WantedState(
        agent.live,
        agent.reloader.patch,
        FakeHeads(),
        FakeModels(),
        agent.report.publish_info,
        file,
        agent.clock,
    )
    agent.report.groups = state.info
    return state


@pytest.fixture
def wanted(agent: Assembled, tmp_path: Path) -> WantedState:
    return following(agent, tmp_path / "wanted.json")


@pytest.fixture
def send(wanted: WantedState) -> Send:
    return sender(wanted)


def sender(wanted: WantedState) -> Send:
    def send(
        sequence: int,
        settings: dict[str, Any],
        group: str = "porches",
        heads: dict[str, str] | None = None,
        model: ModelSource | None = None,
        **more: Any,
    ) -> None:
        document = Wanted(group, sequence, f"r{sequence}", Target(settings, heads or {}, model), **more)
        wanted.receive(group, signed(document, KEY.sign))

    return send


def info(agent: Assembled, group: str = "porches") -> GroupInfo:
    return next(each for each in agent.link.infos[-1].groups if each.group == group)


def test_what_is_wanted_is_written_and_said_in_info(agent: Assembled, send: Send) -> None:
    send(1, {"stabilizer.window": 5, "labels.allow": ["cat"]})
    assert agent.live.config.stabilizer.window == 5
    assert load(agent.file).labels.allow == ("cat",)
    assert info(agent) == GroupInfo("porches", "r1", 1, False, ("labels.allow", "stabilizer.window"))


def test_what_is_not_wanted_any_more_is_as_it_was(agent: Assembled, send: Send) -> None:
    send(1, {"stabilizer.window": 5, "source.warmup_s": 3})
    send(2, {"source.warmup_s": 4})
    assert (agent.live.config.stabilizer.window, agent.live.config.source.warmup_s) == (3, 4)
    send(3, {})
    assert agent.live.config.source.warmup_s == 0


def test_a_device_in_the_trial_has_the_trial_s_state_and_is_taken_back_with_its_end(
    agent: Assembled, send: Send
) -> None:
    send(1, {"stabilizer.window": 5})
    send(2, {"stabilizer.window": 5}, trial=Target({"stabilizer.window": 9}), devices=frozenset({"porch"}))
    assert (agent.live.config.stabilizer.window, info(agent).trial) == (9, True)
    send(3, {"stabilizer.window": 5})
    assert (agent.live.config.stabilizer.window, info(agent).trial) == (5, False)


def test_a_trial_on_others_changes_nothing(agent: Assembled, send: Send) -> None:
    send(1, {}, trial=Target({"stabilizer.window": 9}), devices=frozenset({"gate"}))
    assert agent.live.config.stabilizer.window == 3


def test_what_the_owner_has_changed_since_is_not_taken_back(agent: Assembled, send: Send) -> None:
    send(1, {"stabilizer.window": 5})
    agent.edit({"stabilizer": {"window": 7}})
    agent.reloader.reload()
    send(2, {})
    assert agent.live.config.stabilizer.window == 7


def test_the_later_group_in_the_list_counts(agent: Assembled, send: Send) -> None:
    send(1, {"stabilizer.window": 5}, group="porches")
    send(1, {"stabilizer.window": 4, "source.warmup_s": 2}, group="yard")
    assert (agent.live.config.stabilizer.window, agent.live.config.source.warmup_s) == (5, 2)


def test_state_that_cannot_be_taken_is_refused_with_why_and_the_former_stays(
    agent: Assembled, send: Send
) -> None:
    send(1, {"stabilizer.window": 5})
    send(2, {"stabilizer.window": 9, "mqtt.host": "elsewhere"})
    assert (agent.live.config.stabilizer.window, agent.live.config.mqtt.host) == (5, "localhost")
    said = info(agent)
    assert (said.revision, said.settings) == ("r2", ("stabilizer.window",))
    assert said.refused == (Refusal("settings", "mqtt.host can be changed in the device's own file only"),)
    send(3, {"stabilizer.window": 9})
    assert (agent.live.config.stabilizer.window, info(agent).refused) == (9, ())


def test_the_owner_s_word_on_who_may_do_what_cannot_be_changed(agent: Assembled, send: Send) -> None:
    send(1, {"control.allow_patch": True})
    assert not agent.live.config.control.allow_patch
    assert info(agent).refused


@pytest.mark.parametrize("sequence", [4, 5])
def test_an_older_document_is_refused_also_after_a_restart(
    agent: Assembled, send: Send, tmp_path: Path, sequence: int
) -> None:
    send(5, {"stabilizer.window": 5})
    sender(following(agent, tmp_path / "wanted.json"))(sequence, {"stabilizer.window": 9})
    assert agent.live.config.stabilizer.window == 5
    assert [each.what for each in info(agent).refused] == ["message"]
    assert info(agent).sequence == 5


def test_the_same_message_changes_nothing_when_it_comes_again(agent: Assembled, send: Send) -> None:
    send(5, {"stabilizer.window": 5})
    infos = len(agent.link.infos)
    send(5, {"stabilizer.window": 5})
    assert len(agent.link.infos) == infos
    assert info(agent).refused == ()


def test_a_document_of_the_far_future_is_refused_where_the_clock_is_set(agent: Assembled, send: Send) -> None:
    send(int(agent.clock.time_s() * 1000) + 2 * 24 * 3600 * 1000, {"stabilizer.window": 5})
    assert agent.live.config.stabilizer.window == 3
    assert "future" in info(agent).refused[0].why


def test_what_is_not_signed_is_refused_and_said_once(agent: Assembled, wanted: WantedState) -> None:
    infos = len(agent.link.infos)
    for noise in (b"{}", b"x", b"{}"):
        wanted.receive("porches", noise)
    assert info(agent) == GroupInfo(
        "porches", "", 0, False, (), refused=(Refusal("message", "it is not signed"),)
    )
    assert len(agent.link.infos) == infos + 1


def test_a_group_that_is_not_the_device_s_and_a_removed_message_are_nothing_to_it(
    agent: Assembled, wanted: WantedState, send: Send
) -> None:
    send(1, {"stabilizer.window": 9}, group="gates")
    wanted.receive("porches", b"")
    assert agent.live.config.stabilizer.window == 3
    assert agent.link.infos == []


def test_a_damaged_memory_is_begun_anew(agent: Assembled, tmp_path: Path) -> None:
    (tmp_path / "wanted.json").write_text("{")
    sender(following(agent, tmp_path / "wanted.json"))(1, {"stabilizer.window": 5})
    assert agent.live.config.stabilizer.window == 5


def known(wanted: WantedState) -> FakeHeads:
    assert isinstance(wanted.heads, FakeHeads)
    return wanted.heads


def test_a_head_is_taken_once_and_the_one_from_before_comes_back_with_the_end_of_the_wish(
    agent: Assembled, wanted: WantedState, send: Send
) -> None:
    send(1, {}, heads=heads(frame=b"merged", gate=b"gates"))
    assert known(wanted).heads == {"": b"merged", "gate": b"gates"}
    assert info(agent).heads == ("frame", "gate")
    send(2, {"stabilizer.window": 5}, heads=heads(frame=b"merged", gate=b"gates"))
    assert len(known(wanted).taken) == 2
    send(3, {}, heads=heads(frame=b"newer"))
    assert known(wanted).heads == {"": b"newer", "gate": b""}
    send(4, {})
    assert known(wanted).heads == {"": b"own", "gate": b""}


def test_a_head_on_trial_is_taken_back_to_the_group_s_own(wanted: WantedState, send: Send) -> None:
    send(1, {}, heads=heads(frame=b"merged"))
    trial = Target({}, heads(frame=b"tried"))
    send(2, {}, heads=heads(frame=b"merged"), trial=trial, devices=frozenset({"porch"}))
    assert known(wanted).heads[""] == b"tried"
    send(3, {}, heads=heads(frame=b"merged"))
    assert known(wanted).heads[""] == b"merged"


@pytest.mark.parametrize(("content", "said"), [("YmFk", "another model"), ("no base64!", "")])
def test_a_head_that_cannot_be_used_is_refused_with_why_and_settings_are_taken(
    agent: Assembled, wanted: WantedState, send: Send, content: str, said: str
) -> None:
    send(1, {"stabilizer.window": 5}, heads={"frame": content})
    assert known(wanted).heads == {"": b"own"}
    assert agent.live.config.stabilizer.window == 5
    (refusal,) = info(agent).refused
    assert refusal.what == "head frame"
    assert said in refusal.why
    assert info(agent).heads == ()


def test_heads_are_taken_back_also_after_a_restart(agent: Assembled, send: Send, tmp_path: Path) -> None:
    send(1, {}, heads=heads(frame=b"merged"))
    again = following(agent, tmp_path / "wanted.json")
    sender(again)(2, {})
    assert known(again).heads[""] == b"own"


def models_of(wanted: WantedState) -> FakeModels:
    assert isinstance(wanted.models, FakeModels)
    return wanted.models


def test_a_model_is_wanted_until_the_group_does_not_give_it_any_more(
    agent: Assembled, wanted: WantedState, send: Send
) -> None:
    send(1, {}, model=model("a"))
    assert models_of(wanted).wanted == [("a", "porches", False)]
    assert (info(agent).model, info(agent).pending) == ("a" * 64, True)
    models_of(wanted).pending = False
    send(2, {})
    assert (info(agent).model, info(agent).pending) == ("", False)
    assert models_of(wanted).given_back == 1
    send(3, {})
    assert models_of(wanted).given_back == 1


def test_a_model_in_the_trial_is_for_its_devices_alone(wanted: WantedState, send: Send) -> None:
    trial = Target({}, {}, model("b"))
    send(1, {}, trial=trial, devices=frozenset({"gate"}))
    assert models_of(wanted).wanted == []
    send(2, {}, trial=trial, devices=frozenset({"gate", "porch"}))
    assert models_of(wanted).wanted == [("b", "porches", False)]
    send(3, {}, model=model("a"))
    assert models_of(wanted).wanted[-1] == ("a", "porches", False)


def test_a_model_that_cannot_be_used_is_refused_with_why_and_settings_are_taken(
    agent: Assembled, wanted: WantedState, send: Send
) -> None:
    models_of(wanted).problem = "control.allow_model is false"
    send(1, {"stabilizer.window": 5}, model=model("a"))
    assert info(agent).refused == (Refusal("model", "control.allow_model is false"),)
    assert (info(agent).model, info(agent).pending) == ("", False)
    assert agent.live.config.stabilizer.window == 5


def test_a_model_that_turns_out_worse_is_refused_later(
    agent: Assembled, wanted: WantedState, send: Send
) -> None:
    send(1, {}, model=model("a"))
    models_of(wanted).why, models_of(wanted).pending = "unknown rose from 0 to 100 %", False
    agent.report.publish_info()
    assert info(agent).refused == (Refusal("model", "unknown rose from 0 to 100 %"),)


def test_a_document_that_comes_again_goes_on_with_its_model_also_after_a_restart(
    agent: Assembled, wanted: WantedState, send: Send, tmp_path: Path
) -> None:
    send(1, {}, model=model("a"))
    send(1, {}, model=model("a"))
    assert models_of(wanted).wanted == [("a", "porches", False), ("a", "porches", True)]
    again = following(agent, tmp_path / "wanted.json")
    sender(again)(1, {}, model=model("a"))
    assert models_of(again).wanted == [("a", "porches", True)]


def test_the_model_of_the_later_group_in_the_list_counts(wanted: WantedState, send: Send) -> None:
    send(1, {}, group="porches", model=model("a"))
    send(1, {}, group="yard", model=model("b"))
    assert models_of(wanted).wanted == [("a", "porches", False), ("a", "porches", False)]
    send(2, {}, group="porches")
    assert models_of(wanted).wanted[-1] == ("b", "yard", False)


def test_a_model_without_its_pins_is_no_document(agent: Assembled, wanted: WantedState) -> None:
    source = ModelSource(Secret("http://models.example/x"), "a" * 64, 9)
    wanted.receive("porches", signed(Wanted("porches", 1, "r1", Target({}, {}, source)), KEY.sign))
    assert "its model cannot be used" in info(agent).refused[0].why
    assert "models.example" not in info(agent).refused[0].why
