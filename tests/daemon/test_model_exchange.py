"""The exchange of the model, step by step, without a process or a network of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.daemon.model_exchange import Child, ModelExchange
from edge_agent.errors import EXIT_FAILURE, EXIT_RESTART, ModelError
from edge_agent.install.record import Outcome
from edge_agent.install.store import ModelStore
from edge_agent.install.trial import START_S, Wellbeing
from edge_agent.model.source import ModelSource, model_source
from tests.daemon.assembled import Assembled
from tests.install.test_store import model_in

SHA256 = "a" * 64
SOURCE = model_source({"url": "https://models.example/tiny.tar?token=hunter2", "sha256": SHA256, "bytes": 9})


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Assembled]:
    made = Assembled(
        tmp_path,
        {
            "source": {"type": "picamera2", "fps": 2},
            "memory": {"budget_mb": 100},
            "control": {"allow_model": True, "model_watch_s": 150},
            "model": {"engine": "torchscript"},
        },
    )
    yield made
    made.close()


def state(agent: Assembled) -> tuple[str, str]:
    """What `info` says of the model that was asked for, and why."""
    agent.report.publish_info()
    install = agent.link.infos[-1].install
    assert install is not None
    return install.state, install.why


def on_trial(agent: Assembled, before: Wellbeing, group: str = "") -> None:
    """As after the restart with another model."""
    store = agent.models.store
    place = store.accept(model_in(store.incoming() / "files", b"w"), SHA256)
    store.note(Outcome("checking", SHA256, 0.0, place, group=group))
    store.begin_trial(agent.config.model.path, place, before, group)
    store.begin(agent.config.model.path)


def test_the_address_is_shown_nowhere(agent: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    assert agent.models.install(SOURCE) == "downloading"
    assert "hunter2" not in caplog.text + repr(SOURCE) + str(state(agent))
    assert "hunter2" not in (agent.models.store.directory / "in-use.json").read_text()
    assert agent.children[0].given["url"] == SOURCE.url


def test_it_is_one_at_a_time_and_ends_with_the_agent(agent: Assembled) -> None:
    agent.models.install(SOURCE)
    with pytest.raises(ModelError, match="another model is being installed"):
        agent.models.install(SOURCE)
    agent.models.close()
    assert agent.children[0].closed


def test_what_a_process_says_is_the_reason(agent: Assembled) -> None:
    agent.models.install(SOURCE)
    agent.children[0].said = {"error": "it has 8 bytes, not 9", "again": False}
    agent.rounds(1)
    assert state(agent) == ("refused", "it has 8 bytes, not 9")
    assert agent.models.install(SOURCE) == "downloading"


def test_a_process_that_hangs_is_ended(agent: Assembled) -> None:
    agent.models.install(SOURCE)
    agent.clock.advance(10_000)
    agent.rounds(1)
    assert state(agent) == ("refused", "it took too long")


def test_a_model_whose_program_would_run_here_is_refused(agent: Assembled) -> None:
    agent.models.install(SOURCE)
    files = model_in(Path(agent.children[0].given["directory"]) / "files", b"w")
    agent.children[0].said = {
        "files": {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in files.items()}
    }
    agent.rounds(1)
    said, why = state(agent)
    assert said == "refused"
    assert "TorchScript is a program" in why or "torch is not installed" in why
    assert list(agent.models.store.directory.glob("*/")) == []


def test_without_room_in_the_budget_nothing_is_begun(agent: Assembled) -> None:
    agent.rss_mb = 90
    with pytest.raises(ModelError, match="24 MB beside the agent's 90 MB"):
        agent.models.install(SOURCE)
    assert agent.children == []
    assert agent.models.info() is None


def test_a_trial_that_is_no_worse_stays(agent: Assembled) -> None:
    on_trial(agent, Wellbeing("", "ok", 0.0))
    agent.classify(3)
    assert agent.rounds(70, do=agent.classify) is None
    assert state(agent)[0] == "trial"
    agent.rounds(10, do=agent.classify)
    assert state(agent)[0] == "installed"
    assert not agent.restart.is_wanted


def test_the_first_frames_are_not_judged_and_later_ones_are(agent: Assembled) -> None:
    on_trial(agent, Wellbeing("", "ok", 0.0))
    agent.classify(1)
    agent.rounds(2)
    assert agent.link.healths[-1].unknown_percent == 100  # one frame is no vote
    agent.rounds(65, do=agent.classify)
    assert state(agent)[0] == "trial"
    assert agent.link.healths[-1].unknown_percent < 10


def test_a_trial_without_a_frame_is_taken_back(agent: Assembled) -> None:
    on_trial(agent, Wellbeing())
    assert agent.rounds(START_S - 5) is None
    assert agent.rounds(10) == EXIT_RESTART
    assert "no frame within 180 s" in state(agent)[1]
    assert agent.models.store.record.in_use == ""


def test_a_trial_above_its_memory_budget_is_taken_back(agent: Assembled) -> None:
    on_trial(agent, Wellbeing("", "ok", None))
    agent.classify()
    agent.rounds(2)
    agent.rss_mb = 130
    assert agent.rounds(130, do=agent.classify) == EXIT_RESTART
    assert state(agent)[0] == "taken back" or agent.restart.reason


@pytest.mark.parametrize(
    ("code", "reason", "taken"),
    [
        (EXIT_FAILURE, "", True),
        (EXIT_RESTART, "resident memory is 130 MB", True),
        (EXIT_RESTART, "it was asked for over MQTT", False),
        (0, "", False),
    ],
)
def test_the_end_of_the_agent_counts_against_the_model_or_not(
    agent: Assembled, code: int, reason: str, taken: bool
) -> None:
    on_trial(agent, Wellbeing())
    agent.restart.reason = reason
    agent.models.ended(code)
    assert (agent.models.store.record.trial is None) is taken


def test_a_real_process_that_dies_is_a_reason_and_no_wait() -> None:
    child = Child("edge_agent.no_such_module", {}, 1e12)
    said = None
    while said is None:
        said = child.result(0)
    assert "has ended with 1" in said["error"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "url must be"),
        ({"url": 5, "sha256": SHA256, "bytes": 5}, "url must be"),
        ({"url": "http://models.example/x", "sha256": SHA256, "bytes": 5}, "HTTPS"),
        ({"url": "https://me:word@models.example/x", "sha256": SHA256, "bytes": 5}, "no user"),
        ({"url": "https://models.example/é", "sha256": SHA256, "bytes": 5}, "ASCII"),
        ({"url": "https://models.example/" + "x" * 2000, "sha256": SHA256, "bytes": 5}, "longer"),
        ({"url": "https://models.example/x", "sha256": "A" * 64, "bytes": 5}, "sha256"),
        ({"url": "https://models.example/x", "sha256": SHA256, "bytes": 0}, "bytes"),
        ({"url": "https://models.example/x", "sha256": SHA256, "bytes": 1 << 40}, "bytes"),
        ({"url": "https://models.example/x", "sha256": SHA256, "bytes": True}, "bytes"),
    ],
)
def test_what_names_no_bundle_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        model_source(given)


def test_a_source_comes_back_as_it_was() -> None:
    assert model_source(SOURCE.plain()) == SOURCE
    assert isinstance(SOURCE, ModelSource)


def test_the_store_of_an_agent_is_in_its_state_directory(agent: Assembled) -> None:
    assert isinstance(agent.models.store, ModelStore)
    assert agent.models.store.directory == agent.state_dir / "models"


def wanted_by_group(agent: Assembled) -> ModelExchange:
    agent.models.again_s = 60
    return agent.models


def test_what_a_group_wants_is_fetched_again_where_that_may_help_and_then_refused(agent: Assembled) -> None:
    models = wanted_by_group(agent)
    models.want(SOURCE, "porches")
    for tries in range(1, 5):
        assert len(agent.children) == tries
        assert models.is_pending(SHA256)
        agent.children[-1].said = {"error": "it is too slow", "again": True}
        agent.rounds(60.0 * tries + 5, 5)
    assert len(agent.children) == 4
    assert not models.is_pending(SHA256)
    assert models.why_not(SHA256) == "it is too slow"
    models.want(SOURCE, "porches", once_more=True)
    assert len(agent.children) == 5


def test_what_was_refused_for_good_is_not_fetched_with_each_connection(agent: Assembled) -> None:
    models = wanted_by_group(agent)
    models.want(SOURCE, "porches")
    agent.children[-1].said = {"error": "its SHA-256 is another", "again": False}
    agent.rounds(200)
    models.want(SOURCE, "porches", once_more=True)
    assert len(agent.children) == 1
    models.want(SOURCE, "porches")
    assert len(agent.children) == 2


def test_another_one_that_is_wanted_ends_the_download_of_the_first(agent: Assembled) -> None:
    models = wanted_by_group(agent)
    models.want(SOURCE, "porches")
    models.want(SOURCE, "porches", once_more=True)
    assert len(agent.children) == 1
    models.want(model_source({**SOURCE.plain(), "sha256": "b" * 64}), "porches")
    assert agent.children[0].closed
    assert agent.children[1].given["sha256"] == "b" * 64
    models.give_back()
    assert agent.children[1].closed
    assert state(agent)[0] == "refused"
    assert not agent.restart.is_wanted


def test_what_the_group_does_not_give_any_more_is_given_back_also_in_the_middle_of_its_trial(
    agent: Assembled,
) -> None:
    on_trial(agent, Wellbeing(), "porches")
    assert agent.models.is_pending(SHA256)
    agent.models.give_back()
    assert agent.models.store.record.in_use == ""
    assert agent.models.store.record.trial is None
    assert agent.restart.is_wanted


def test_the_one_from_before_is_in_use_again_without_another_trial(agent: Assembled) -> None:
    on_trial(agent, Wellbeing(), "porches")
    agent.models.store.finish()
    first = agent.models.store.record.in_use
    store = agent.models.store
    second = store.accept(model_in(store.incoming() / "files", b"other"), "b" * 64)
    store.begin_trial(agent.config.model.path, second, Wellbeing(), "porches")
    store.finish()
    agent.models.want(SOURCE, "porches")
    assert (store.record.in_use, store.record.trial) == (first, None)
    assert agent.restart.is_wanted
    assert not agent.models.is_pending(SHA256)


def test_another_one_during_a_trial_is_fetched_after_the_restart(agent: Assembled) -> None:
    on_trial(agent, Wellbeing(), "porches")
    other = model_source({**SOURCE.plain(), "sha256": "b" * 64})
    agent.models.want(other, "porches")
    assert agent.models.store.record.trial is None
    assert agent.restart.is_wanted
    assert agent.models.is_pending("b" * 64)
    assert agent.children == []
