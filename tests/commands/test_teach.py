"""`edge-agent teach` with real weights: what is shown is learnt, undone, reported, exported and joined."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_agent import cli
from edge_agent.commands.teach import MOST_PICTURES
from edge_agent.config.loader import load
from edge_agent.inference import NO_FEATURE
from edge_agent.model.sidecar import Artifact, files_sha256, write_sidecar
from edge_agent.sources.picture import read_picture
from edge_agent.system.lock import DirectoryLock
from edge_agent.teach import head_file
from edge_agent.teach.head import Backbone
from edge_agent.teach.lessons import Lessons, Shot
from edge_agent.teach.store import STORE_NAME
from edge_agent.tools.classroom import Classroom, view_of
from edge_agent.tools.lesson_export import folder_names
from edge_agent.tools.train.dataset import read_dataset
from tests.commands.gates import GATE, write_gates
from tests.install.came import came_over_mqtt


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Owner:
    """Somebody who calls the command, for an agent with this configuration and state directory."""

    config: Path
    state: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, action: str, *words: str | Path) -> Said:
        self.capture.readouterr()
        where = () if action == "merge" else ("--config", str(self.config))
        code = cli.main(["teach", action, *where, *map(str, words)])
        return Said(code, *self.capture.readouterr())

    def configure(self, **settings: Any) -> None:
        document = yaml.safe_load(self.config.read_text())
        self.config.write_text(yaml.safe_dump(document | settings))

    def keys(self) -> list[str]:
        return [each["key"] for each in self("list", "--json").json["examples"]]


@pytest.fixture
def teach(
    lite0: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Owner:
    return owner(lite0, tmp_path / "agent", monkeypatch, capsys)


def owner(
    model: Artifact, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Owner:
    directory.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(directory / "state"))
    return Owner(configured(model, directory), directory / "state", capsys)


def configured(model: Artifact, directory: Path) -> Path:
    config = directory / "edge-agent.yaml"
    document = {
        "source": {"type": "folder", "folder": {"path": str(directory)}},
        "model": {"path": str(model.directory), "threads": 1},
        "memory": {"budget_mb": 1024},
    }
    config.write_text(yaml.safe_dump(document))
    return config


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates")
    for number, label in enumerate(("open", "closed", "none")):
        write_gates(folder / label, label, range(100 * number, 100 * number + 4))
    return folder


@pytest.fixture(scope="module")
def lesson(lite0: Artifact, gates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of an agent that was taught `open` and `closed`."""
    config = configured(lite0, tmp_path_factory.mktemp("taught"))
    state = config.with_name("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", str(state))
        for label in ("open", "closed"):
            words = ["teach", "add", "--config", str(config), "--label", label, str(gates / label)]
            assert cli.main(words) == 0
    return state


@pytest.fixture
def taught(teach: Owner, lesson: Path) -> Owner:
    shutil.copytree(lesson, teach.state)
    return teach


class TestLearning:
    def test_what_was_shown_is_known_on_other_pictures(self, teach: Owner, gates: Path) -> None:
        said = teach("add", "--label", "open", gates / "open")
        assert said.code == 0
        assert said.out.splitlines() == [
            "taught 4 pictures as open",
            "frame knows open (4)",
            "too few examples to say how good it is: show two labels, each at two times by day or at night",
            "next: only one label: show something else, or `none`",
            f"no agent runs with {teach.state}: it is used from the next start on",
        ]
        said = teach("add", "--label", "closed", gates / "closed")
        assert "frame knows closed (4), open (4)" in said.out
        assert "right about 8 of 8 examples, each judged by those of other times (100%; " in said.out
        teach("add", "--label", "none", gates / "none")
        answers = {label: answers_of(teach, label) for label in ("open", "closed", "none")}
        assert answers == {"open": {"open"}, "closed": {"closed"}, "none": {"unknown"}}

    def test_a_running_agent_is_mentioned(self, taught: Owner) -> None:
        lock = DirectoryLock(taught.state)
        assert "the running agent takes it within seconds" in taught("undo").out
        lock.close()

    def test_an_agent_that_is_not_to_be_taught_is_mentioned(self, taught: Owner) -> None:
        taught.configure(teach={"enabled": False})
        assert "teach.enabled is false: the agent does not use what it was taught" in taught("undo").out

    def test_the_configuration_says_how_much_is_kept(self, teach: Owner, gates: Path) -> None:
        teach.configure(teach={"per_label": 3, "thumbnails": False})
        said = teach("add", "--label", "open", gates / "open")
        assert (
            "taught 3 pictures as open\nleft out 1 picture: the label is full, and others differ more\n"
            in said.out
        )
        assert teach("list").out.count("(no picture)") == 3

    def test_what_cannot_be_read_is_named_and_the_rest_is_taken(
        self, teach: Owner, gates: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "page\n.jpg").write_bytes(b"<html>")
        (tmp_path / "cut.jpg").write_bytes((gates / "open" / "000.jpg").read_bytes()[:2000])
        pictures = [*sorted(tmp_path.glob("*.jpg")), tmp_path / "missing.jpg", gates / "open" / "001.jpg"]
        said = teach("add", "--label", "open", *pictures)
        assert said.code == 1
        assert "taught 1 picture as open" in said.out
        assert r"page\n.jpg: it is a web page (HTML)" in said.err
        assert "cut.jpg: " in said.err
        assert "missing.jpg: No such file" in said.err
        assert "\n.jpg" not in said.err

    def test_with_nothing_to_read_nothing_is_taught(self, teach: Owner, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").touch()
        said = teach("add", "--label", "open", tmp_path / "a.jpg")
        assert said.code == 1
        assert "none of the pictures can be read: nothing was taught" in said.err
        (tmp_path / "empty").mkdir()
        assert (
            "empty: there is no picture in this folder"
            in teach("add", "--label", "open", tmp_path / "empty").err
        )

    def test_the_same_picture_again_says_nothing_new(self, taught: Owner, gates: Path) -> None:
        said = taught("add", "--label", "open", gates / "open")
        assert said.code == 0
        assert said.out.startswith(
            "taught 0 pictures as open\nleft out 4 pictures: nearly the same as others\n"
        )
        said = taught("add", "--json", "--label", "open", gates / "open")
        assert (said.json["added"], said.json["gone"], said.json["duplicates"]) == ([], [], 4)

    def test_a_picture_under_another_label_is_corrected(self, taught: Owner, gates: Path) -> None:
        said = taught("add", "--label", "closed", gates / "open" / "000.jpg")
        assert "forgot 1 example of open for them" in said.out
        assert "frame knows closed (5), open (3)" in said.out

    def test_when_a_picture_was_taken_is_its_files_time(self, taught: Owner) -> None:
        examples = taught("list", "--json").json["examples"]
        assert [each["burst"] for each in examples] == list(range(8))
        assert examples[1]["time"] == "2026-09-21T15:13:20+00:00"

    @pytest.mark.parametrize("label", ["unknown", "", "a\tb", "x" * 65])
    def test_what_can_be_no_label_is_refused_before_anything_is_read(self, teach: Owner, label: str) -> None:
        said = teach("add", "--label", label, "nowhere.jpg")
        assert said.code == 1
        assert "cannot be" in said.err
        assert "nowhere" not in said.err

    def test_more_pictures_than_are_kept_open_are_refused(self, teach: Owner, tmp_path: Path) -> None:
        for number in range(MOST_PICTURES + 1):
            (tmp_path / f"{number}.jpg").touch()
        said = teach("add", "--label", "open", tmp_path)
        assert (said.code, said.out) == (2, "")
        assert "too many pictures for one lesson: show 500 at most" in said.err

    def test_without_thumbnails_no_picture_is_kept(self, teach: Owner, gates: Path) -> None:
        teach("add", "--label", "open", "--no-thumbnails", gates / "open")
        assert "(no picture)" in teach("list").out
        assert not any(each["thumbnail"] for each in teach("list", "--json").json["examples"])


def answers_of(teach: Owner, label: str) -> set[str]:
    """What the head that is on disk says to other pictures of the label."""
    config = load(teach.config)
    room = Classroom(config, view_of(config, "", os.environ, only_watched=True), os.environ)
    head = room.lessons.head().head
    assert head is not None
    pictures = sorted(write_gates(teach.state.parent / f"other {label}", label, range(900, 906)).iterdir())
    found = {head.answer(room.feature_of(read_picture(path))).label for path in pictures}
    room.close()
    return found


class TestTakingBack:
    def test_a_lesson_is_undone_with_all_its_pictures(self, taught: Owner) -> None:
        said = taught("undo")
        assert said.out.startswith("forgot 4 examples of closed\nframe knows open (4)\n")
        assert taught("undo").out.startswith("forgot 4 examples of open\nframe knows nothing\n")
        said = taught("undo")
        assert (said.code, said.out) == (1, "")
        assert "there is no lesson that can be undone" in said.err
        assert not (taught.state / "teach" / "frame" / "head").exists()

    def test_a_label_is_forgotten_and_comes_back(self, taught: Owner) -> None:
        before = taught.keys()
        assert taught("remove", "--label", "open").out.startswith(
            "forgot 4 examples of open\nframe knows closed (4)\n"
        )
        assert taught("undo").out.startswith("brought back 4 examples of open\n")
        assert taught.keys() == before

    def test_an_example_is_forgotten_by_its_key(self, taught: Owner) -> None:
        shown = taught("list").out.splitlines()[2]
        said = taught("remove", "--json", "--example", shown.split()[0])
        assert len(said.json["gone"]) == 1
        assert said.json["labels"] == {"closed": 4, "open": 3}
        said = taught("remove", "--example", said.json["gone"][0])
        assert said.code == 1
        assert "no example has a key that begins with" in said.err

    def test_a_label_that_was_never_taught_is_answered_by_those_that_were(self, taught: Owner) -> None:
        assert (
            "no example shows 'opne'; taught so far: `closed`, `open`"
            in taught("remove", "--label", "opne").err
        )

    def test_the_head_before_comes_back(self, taught: Owner, gates: Path) -> None:
        taught("add", "--label", "none", gates / "none")
        said = taught("revert")
        assert said.out.startswith("frame answers as before the last lesson: closed, open\n")
        assert answers_of(taught, "open") == {"open"}
        assert len(taught.keys()) == 12
        said = taught("revert", "--json")
        assert said.code == 1
        assert "there is no head before this one" in said.err


class TestReporting:
    def test_it_says_how_good_it_is_and_what_to_show_next(self, taught: Owner, gates: Path) -> None:
        taught("add", "--label", "open", gates / "none" / "200.jpg")
        said = taught("report")
        assert said.code == 0
        assert said.out.startswith("frame: 9 examples, answered by logistic regression\nright about ")
        assert "\ntaken for:\n  closed: closed 4\n  open: " in said.out
        assert "\nto show next:\n  4 examples of `closed`: show 5 or more\n" in said.out
        report = taught("report", "--json").json["report"]
        assert report["judged"] == 9
        assert report["low"] < report["accuracy"] <= report["high"]

    def test_a_wrong_label_is_shown_with_the_key_to_remove_it(self, taught: Owner) -> None:
        wrong = write_gates(taught.state.parent / "wrong", "open", range(300, 301))
        taught("add", "--label", "closed", wrong)
        (line,) = [line for line in taught("report").out.splitlines() if "closed, looks like open" in line]
        taught("remove", "--example", line.split()[0])
        assert "possibly mislabelled" not in taught("report").out

    def test_nothing_taught_is_said_plainly(self, teach: Owner) -> None:
        assert teach("report").out == teach("list").out == "frame was taught nothing\n"
        assert teach("report", "--json").json == {"view": "frame", "labels": {}, "report": None}


class TestViews:
    def test_a_region_learns_what_is_in_it(self, teach: Owner, gates: Path, tmp_path: Path) -> None:
        teach.configure(regions={"gate": {"box": list(GATE)}})
        assert "gate knows open (4)" in teach("add", "--label", "open", gates / "open").out
        cut = tmp_path / "cut.png"
        Image.open(gates / "open" / "000.jpg").crop((80, 60, 240, 180)).save(cut)
        said = teach("add", "--json", "--label", "open", "--as-is", cut)
        assert said.json["duplicates"] == 1
        assert (teach.state / "teach" / "gate" / STORE_NAME).exists()
        assert not (teach.state / "teach" / "frame").exists()

    def test_which_of_several_has_to_be_said(self, teach: Owner, gates: Path) -> None:
        teach.configure(regions={"gate": {"box": list(GATE)}, "bin": {"box": [0.0, 0.0, 0.5, 0.5]}})
        said = teach("add", "--label", "open", gates / "open")
        assert said.code == 2
        assert "several regions are watched: name one by --view: " in said.err
        for wrong in ("frame", "door"):
            said = teach("add", "--label", "open", "--view", wrong, gates / "open")
            assert said.code == 2
            assert f"--view {wrong}: what is watched is " in said.err
        assert "bin knows open (4)" in teach("add", "--label", "open", "--view", "bin", gates / "open").out

    def test_what_is_no_longer_watched_can_be_listed_and_forgotten(self, taught: Owner) -> None:
        taught.configure(regions={"gate": {"box": list(GATE)}})
        assert taught("list").out == "gate was taught nothing\n"
        assert len(taught("list", "--view", "frame").out.splitlines()) == 8
        assert taught("remove", "--view", "frame", "--label", "open").code == 0
        said = taught("list", "--view", "../../elsewhere")
        assert said.code == 1
        assert "cannot be the name of a region" in said.err

    def test_pictures_are_turned_as_the_camera_is(self, teach: Owner, gates: Path, tmp_path: Path) -> None:
        teach("add", "--label", "open", gates / "open" / "000.jpg")
        document = yaml.safe_load(teach.config.read_text())
        teach.configure(source=document["source"] | {"rotate": "90", "hflip": True})
        turned = tmp_path / "turned.png"
        pixels = np.asarray(Image.open(gates / "open" / "000.jpg"))
        Image.fromarray(np.rot90(pixels[:, ::-1], 1)).save(turned)
        assert teach("add", "--json", "--label", "open", turned).json["duplicates"] == 1
        assert (
            teach("add", "--json", "--label", "open", "--as-seen", gates / "open" / "000.jpg").json[
                "duplicates"
            ]
            == 1
        )
        assert teach("add", "--json", "--label", "open", "--as-seen", turned).json["duplicates"] == 0


class TestFiles:
    def test_what_is_exported_teaches_the_same(self, taught: Owner, tmp_path: Path) -> None:
        taught("remove", "--example", taught.keys()[0])
        said = taught("export", tmp_path / "out")
        assert said.out == f"{tmp_path}/out: 7 pictures of 7 examples of frame\n"
        assert len(list((tmp_path / "out" / "closed").iterdir())) == 4
        with (tmp_path / "out" / "examples.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["key"] for row in rows] == taught.keys()
        assert all((tmp_path / "out" / row["picture"]).is_file() for row in rows)
        taught("remove", "--label", "open")
        taught("add", "--label", "open", "--as-is", tmp_path / "out" / "open")
        assert answers_of(taught, "open") == {"open"}

    def test_labels_that_no_folder_can_be_called_are_exported(
        self, teach: Owner, gates: Path, tmp_path: Path
    ) -> None:
        pictures = [*sorted((gates / "open").iterdir()), *sorted((gates / "closed").iterdir())]
        for label, picture in zip(("../../up", "=1+1", "Über auf", "über AUF", ".."), pictures, strict=False):
            teach("add", "--label", label, picture)
        assert teach("export", tmp_path / "out").code == 0
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"up", "1_1", "Über_auf", "über_AUF-2", "label", "examples.csv"}
        assert "'=1+1" in (tmp_path / "out" / "examples.csv").read_text()

    def test_what_is_exported_is_a_set_to_train_on(
        self, teach: Owner, gates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        teach("add", "--label", "=open/wide", gates / "open")
        teach("add", "--label", "closed", gates / "closed")
        teach("add", "--label", "closed", "--no-thumbnails", gates / "none")
        teach("export", tmp_path / "out")
        items = read_dataset(tmp_path / "out")
        assert Counter(item.label for item in items) == {"=open/wide": 4, "closed": 4}
        assert all(item.path.is_file() and item.time_s is not None for item in items)
        assert cli.main(["dataset", "check", str(tmp_path / "out")]) == 0
        assert "4       4  =open/wide" in capsys.readouterr().out

    @given(st.lists(st.text(min_size=1, max_size=80), max_size=30))
    def test_every_label_has_a_folder_of_its_own(self, labels: list[str]) -> None:
        names = folder_names(labels)
        assert names.keys() == set(labels)
        assert len({name.casefold() for name in names.values()}) == len(names)
        for name in names.values():
            assert Path(name).name == name
            assert not name.startswith((".", "-"))
            assert len(os.fsencode(name)) < 255

    def test_a_folder_in_use_is_left_alone(self, taught: Owner, gates: Path, tmp_path: Path) -> None:
        said = taught("export", gates / "open")
        assert said.code == 2
        assert "is not empty: name another folder" in said.err
        (tmp_path / "file").touch()
        assert "file/out: Not a directory" in taught("export", tmp_path / "file" / "out").err

    def test_heads_of_two_cameras_are_joined(
        self,
        lite0: Artifact,
        taught: Owner,
        gates: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        second = owner(lite0, tmp_path / "second", monkeypatch, capsys)
        second("add", "--label", "none", gates / "none")
        heads = [each.state / "teach" / "frame" / "head" for each in (taught, second)]
        said = second("merge", *heads, "--output", heads[1])
        assert said.out == f"{heads[1]}: closed (4), none (4), open (4)\n"
        assert answers_of(second, "closed") == {"closed"}
        said = second("merge", tmp_path / "nothing", "--output", heads[1])
        assert said.code == 1
        assert "nothing: cannot be read: No such file" in said.err


def test_the_model_that_came_over_mqtt_is_taught_since_the_agent_runs_it(
    teach: Owner, gates: Path, lite0: Artifact
) -> None:
    place = came_over_mqtt(lite0, teach.state, lite0.directory)
    files = {"xnnpack-fp16": lite0.sidecar.files["xnnpack-fp16"]}
    write_sidecar(place, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    assert teach("add", "--label", "open", gates / "open").code == 0
    head = head_file.load(teach.state / "teach/frame/head")
    assert head.backbone.sha256 == files_sha256(files) != lite0.sidecar.sha256


class TestTrouble:
    def test_what_another_model_was_taught_is_taught_to_this_one(self, teach: Owner, gates: Path) -> None:
        other = Lessons(teach.state / "teach" / "frame", Backbone("ab" * 32, "native-fp32", 16))
        features = iter(np.eye(16, dtype=np.float16))
        for label in ("open", "closed"):
            pictures = [path.read_bytes() for path in sorted((gates / label).iterdir())]
            shots = [
                Shot(next(features), 1e9 + number, 99.0, jpeg) for number, jpeg in enumerate([*pictures, b""])
            ]
            other.add(label, shots)
        other.fit()
        said = teach("report", "--json")
        assert "it was taught on another model" in said.err
        assert "8 examples of another model: taught to this one by pictures" in said.err
        assert "2 examples of another model: without a picture, or room" in said.err
        assert said.json["labels"] == {"closed": 4, "open": 4}
        teach("undo")
        assert teach("export", teach.state.parent / "out").out.endswith("4 pictures of 5 examples of frame\n")

    def test_damage_is_said_and_what_is_whole_is_used(self, taught: Owner) -> None:
        directory = taught.state / "teach" / "frame"
        (directory / "head").write_bytes(b"damaged")
        store = directory / STORE_NAME
        store.write_bytes(store.read_bytes()[:-4096])
        said = taught("report")
        assert said.code == 0
        assert f"{store} was damaged" in said.err
        assert f"{directory}/head: cannot be used: it is no head" in said.err
        assert (directory / f"{STORE_NAME}.damaged").exists()
        assert "undone" not in taught("undo").out

    def test_a_network_without_a_last_layer_is_refused(
        self, teach: Owner, gates: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from edge_agent.inference.native.engine import NativeEngine

        monkeypatch.setattr(NativeEngine, "features", NO_FEATURE)
        said = teach("add", "--label", "open", gates / "open")
        assert said.code == 1
        assert "efficientnet_lite0 cannot be taught as it runs here; `edge-agent model info " in said.err
        assert not teach.state.exists()

    def test_without_a_configuration_it_asks_for_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        if Path("/etc/edge-agent/edge-agent.yaml").exists():
            pytest.skip("an agent is installed here")
        assert cli.main(["teach", "report"]) == 2
        assert "name the configuration with --config FILE" in capsys.readouterr().err


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


_AS_ROOT_FIRST = """
import os, sys
from edge_agent import cli
own, others, *words = sys.argv[1:]
for state in own, others:  # at first for itself, which loads all that others may not be able to read here
    os.environ["STATE_DIRECTORY"] = state
    code = cli.main(words)
sys.exit(code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_teaches_as_the_owner_of_the_state_with_pictures_of_its_own(
    lite0: Artifact, gates: Path, open_folder: Path, tmp_path: Path
) -> None:
    nobody = 65534
    model = shutil.copytree(lite0.directory, open_folder / "model")
    state = open_folder / "state"
    state.mkdir()
    os.chown(state, nobody, nobody)
    config = configured(replace(lite0, directory=model), open_folder)
    assert not stat.S_IMODE(gates.parent.stat().st_mode) & 0o077, "others could read the pictures too"
    words = ["teach", "add", "--config", str(config), "--label", "open", str(gates / "open")]
    add = subprocess.run(
        [sys.executable, "-c", _AS_ROOT_FIRST, str(tmp_path), str(state), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert add.returncode == 0, add.stderr
    assert f"going on as nobody, who owns {state}" in add.stderr
    assert add.stdout.count("taught 4 pictures as open") == 2
    assert {path.stat().st_uid for path in state.rglob("*")} == {nobody}
