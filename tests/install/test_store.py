"""Which model is in use is known after every end of the process; none is used that is not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import ArtifactError, ModelError
from edge_agent.install.bundle import Unpacked, unpack
from edge_agent.install.record import Outcome, Record, Trial, load, save
from edge_agent.install.store import ModelStore, place_name
from edge_agent.install.trial import MOST_STARTS, Wellbeing, objections
from edge_agent.model.sidecar import (
    SIDECAR_NAME,
    Artifact,
    ArtifactFile,
    Preprocessing,
    Sidecar,
    WeightsOrigin,
    check_whole,
    describe_file,
    files_sha256,
    write_sidecar,
)
from edge_agent.tools.installer.bundle import write_bundle
from tests.clock import FakeClock
from tests.install.bundles import bundle

OWN = Path("/var/lib/edge-agent/model")
BEFORE = Wellbeing("running", "ok", 5.0)


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], ModelStore]:
    """The store as the next process finds it."""
    return lambda: ModelStore(tmp_path, FakeClock())


def model_in(directory: Path, content: bytes) -> dict[str, Unpacked]:
    """A model whose weights are these bytes; returns what unpacking it would."""
    directory.mkdir(parents=True)
    (directory / "a.pt").write_bytes(content)
    files: dict[str, tuple[ArtifactFile, ...]] = {"torchscript-fp32": (describe_file(directory / "a.pt"),)}
    sidecar = Sidecar(
        name="Tiny Model!",
        arch="tiny",
        created="2025-01-01T00:00:00Z",
        torch_version="2.9.1",
        weights=WeightsOrigin("test", "0" * 64),
        preprocessing=Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        labels=("cat", "dog"),
        files=files,
        sha256=files_sha256(files),
    )
    write_sidecar(directory, sidecar)
    described = (describe_file(path) for path in directory.iterdir())
    return {file.name: Unpacked(file.bytes, file.sha256) for file in described}


def accepted(store: ModelStore, content: bytes = b"w", bundle: str = "a" * 64) -> str:
    files = model_in(store.incoming() / "files", content)
    return store.accept(files, bundle)


def tried(store: ModelStore, content: bytes = b"w", group: str = "") -> str:
    place = accepted(store, content, content.hex().rjust(64, "0"))
    store.note(Outcome("checking", "a" * 64, 0.0, place, group=group))
    store.begin_trial(OWN, place, BEFORE, group)
    return place


def names(store: ModelStore) -> set[str]:
    return {path.name for path in store.directory.iterdir()} - {"in-use.json"}


def test_without_a_record_the_configured_model_is_in_use_and_nothing_is_made(
    reopen: Callable[[], ModelStore], tmp_path: Path
) -> None:
    assert reopen().begin(OWN) == OWN
    assert list(tmp_path.iterdir()) == []


def test_a_good_trial_stays_and_the_one_before_is_kept_but_no_older_one(
    reopen: Callable[[], ModelStore],
) -> None:
    places = []
    for content in (b"1", b"2", b"3"):
        store = reopen()
        places.append(tried(store, content))
        store = reopen()
        assert store.begin(OWN) == store.directory / places[-1]
        store.finish()
        assert store.record.outcome is not None
        assert store.record.outcome.state == "installed"
    assert reopen().begin(OWN).name == places[2]
    assert names(reopen()) == set(places[1:])


def test_a_trial_that_is_taken_back_gives_the_one_before(reopen: Callable[[], ModelStore]) -> None:
    first = tried(reopen(), b"1")
    reopen().finish()
    tried(reopen(), b"2")
    reopen().take_back("it knows less")
    store = reopen()
    assert store.begin(OWN) == store.directory / first
    assert store.record.outcome is not None
    assert (store.record.outcome.state, store.record.outcome.why) == (
        "taken back",
        "it knows less",
    )
    assert names(store) == {first}


def test_a_trial_that_ends_the_agent_again_and_again_is_taken_back(reopen: Callable[[], ModelStore]) -> None:
    place = tried(reopen())
    for _ in range(MOST_STARTS):
        assert reopen().begin(OWN).name == place
    store = reopen()
    assert store.begin(OWN) == OWN
    assert store.record.outcome is not None
    assert "has ended 3 times" in store.record.outcome.why


def test_starts_that_cannot_be_counted_take_it_back(
    reopen: Callable[[], ModelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried(reopen())
    store = reopen()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.install.record.save", fail)
    assert store.begin(OWN) == OWN


def test_an_owner_who_names_another_model_has_it(reopen: Callable[[], ModelStore], tmp_path: Path) -> None:
    tried(reopen())
    store = reopen()
    assert store.begin(tmp_path / "mine") == tmp_path / "mine"
    assert store.record.outcome is not None
    assert store.record.outcome.state == "taken back"
    assert reopen().begin(OWN) == OWN
    assert names(reopen()) == set()


def test_a_model_in_use_that_is_damaged_is_left_for_the_configured_one(
    reopen: Callable[[], ModelStore],
) -> None:
    place = tried(reopen())
    reopen().finish()
    (reopen().directory / place / "model.json").write_text("{")
    assert reopen().begin(OWN) == OWN
    assert reopen().begin(OWN) == OWN


def test_a_download_that_was_cut_off_is_said_and_cleared_away(reopen: Callable[[], ModelStore]) -> None:
    store = reopen()
    (store.incoming() / "bundle").write_bytes(b"half")
    store.note(Outcome("downloading", "a" * 64, 0.0))
    store = reopen()
    assert store.begin(OWN) == OWN
    # The record is of no configured model yet: what was asked for is gone with it, or said as refused.
    assert names(store) == set()
    assert store.record.outcome is not None
    assert (store.record.outcome.state, store.record.outcome.again) == ("refused", True)


def test_a_group_s_model_is_given_back_also_after_a_second_one(reopen: Callable[[], ModelStore]) -> None:
    own = tried(reopen(), b"own")
    reopen().finish()
    for content in (b"1", b"2"):
        tried(reopen(), content, "porches")
        reopen().finish()
    store = reopen()
    store.begin(OWN)
    assert own in names(store)
    assert store.give_back("no more")
    assert reopen().begin(OWN).name == own
    assert not reopen().give_back("no more")


def test_a_group_s_trial_that_is_taken_back_leaves_nothing_to_give_back(
    reopen: Callable[[], ModelStore],
) -> None:
    tried(reopen(), b"1", "porches")
    reopen().take_back("worse")
    assert reopen().record.own is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda files: files.pop("a.pt"), "lacks a.pt"),
        (lambda files: files.update(run=Unpacked(1, "0" * 64)), "holds run, which"),
        (lambda files: files.update({"a.pt": Unpacked(1, "0" * 64)}), "a.pt in the bundle is not"),
    ],
)
def test_only_what_the_sidecar_lists_is_accepted(
    reopen: Callable[[], ModelStore], change: Callable[[dict[str, Unpacked]], None], why: str
) -> None:
    store = reopen()
    files = model_in(store.incoming() / "files", b"w")
    change(files)
    with pytest.raises(ModelError, match=why):
        store.accept(files, "a" * 64)
    store.clean()
    assert names(store) == set()


def test_a_sidecar_that_cannot_be_read_is_refused(reopen: Callable[[], ModelStore]) -> None:
    store = reopen()
    (store.incoming() / "files").mkdir()
    (store.directory / ".incoming/files/model.json").write_text("[]")
    with pytest.raises(ArtifactError):
        store.accept({"model.json": Unpacked(2, "0" * 64)}, "a" * 64)


def test_a_bundle_that_is_there_is_known_and_one_that_is_not_whole_is_not(
    reopen: Callable[[], ModelStore],
) -> None:
    store = reopen()
    place = accepted(store, bundle="b" * 64)
    assert store.known("b" * 64) == place
    assert store.known("c" * 64) == ""
    (store.directory / place / "a.pt").unlink()
    assert reopen().known("b" * 64) == ""


@pytest.mark.parametrize("has_torchscript", [False, True])
def test_a_bundle_is_accepted_also_one_from_before_with_torchscript_files(
    reopen: Callable[[], ModelStore], lite0: Artifact, tmp_path: Path, has_torchscript: bool
) -> None:
    made = tmp_path / "lite0.tar"
    if has_torchscript:
        listed = (file.name for files in lite0.sidecar.files.values() for file in files)
        made.write_bytes(
            bundle(*((name, (lite0.directory / name).read_bytes()) for name in (SIDECAR_NAME, *listed)))
        )
    else:
        write_bundle(lite0, made)
    store = reopen()
    (store.incoming() / "files").mkdir()
    with made.open("rb") as opened:
        place = store.accept(unpack(opened, store.directory / ".incoming/files"), "b" * 64)
    artifact = store.artifact(place)
    check_whole(artifact)
    assert place == place_name(lite0.sidecar)
    assert artifact.sidecar.sha256 == lite0.sidecar.sha256
    assert store.known("b" * 64) == place
    assert len(list(artifact.directory.glob("torchscript-*"))) == 2 * has_torchscript


@pytest.mark.parametrize("place", ["../model", "/etc", "a/b", ".incoming", "A"])
def test_a_record_reaches_nothing_outside(
    reopen: Callable[[], ModelStore], tmp_path: Path, place: str
) -> None:
    file = tmp_path / "models/in-use.json"
    save(file, Record(configured=str(OWN)))
    document = json.loads(file.read_text()) | {"in_use": place}
    file.write_text(json.dumps(document))
    assert reopen().begin(OWN) == OWN


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    outcome = Outcome("trial", "a" * 64, 12.5, "tiny-1", "why", "porches", True)
    record = Record(str(OWN), "tiny-1", "", "", {"a" * 64: "tiny-1"}, Trial("", BEFORE, 2), outcome)
    save(tmp_path / "in-use.json", record)
    assert load(tmp_path / "in-use.json") == record


def test_where_nothing_can_be_written_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelError, match="StateDirectory"):
        ModelStore(tmp_path, FakeClock()).incoming()


def test_a_place_is_named_by_name_and_hash(reopen: Callable[[], ModelStore]) -> None:
    store = reopen()
    place = accepted(store)
    assert place == place_name(store.artifact(place).sidecar)
    assert place.startswith("tiny-model-")


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (Wellbeing("running", "ok", 14.0), []),
        (Wellbeing("running", "ok", None), []),
        (Wellbeing("running", "soft", 5.0), []),
        (Wellbeing("paused", "ok", 5.0), []),
        (Wellbeing("running", "ok", 16.0), ["unknown rose from 5 to 16 %"]),
        (Wellbeing("reopening", "hard", 5.0), ["camera reopening", "memory above its budget"]),
    ],
)
def test_what_is_worse(now: Wellbeing, found: list[str]) -> None:
    assert objections(BEFORE, now) == found
    assert objections(Wellbeing(), now) == [each for each in found if "memory" in each]
