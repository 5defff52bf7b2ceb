"""The bench of teaching: its scenes are the same each time, its judging is right, and its page is written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.teaching.__main__ import main
from benchmarks.teaching.day import day_of, light_at
from benchmarks.teaching.draws import draw
from benchmarks.teaching.features import SceneFeatures, Seen
from benchmarks.teaching.heads import HEADS, Verdicts, adam
from benchmarks.teaching.judging import marks
from benchmarks.teaching.page import BEGIN, END, write
from benchmarks.teaching.sample import IN_BURST, QUICK, judged, strangers, taught, watched
from benchmarks.teaching.scene import Moment, Scene, cut, render
from benchmarks.teaching.scenes import SCENES
from benchmarks.teaching.watching import by_head, by_verdicts, watch
from edge_agent.errors import UsageError
from edge_agent.model.sidecar import Artifact
from edge_agent.teach.fitting import fit
from edge_agent.teach.head import Backbone
from tests.installed import needs_native

BY_NAME = {scene.name: scene for scene in SCENES}
_HASH = """
import hashlib
from benchmarks.teaching.scene import Moment, render
from benchmarks.teaching.scenes import SCENES
print(hashlib.sha256(b"".join(render(s, Moment(s.labels[0], 3, 12.0)).tobytes() for s in SCENES)).hexdigest())
"""


class TestScenes:
    def test_a_moment_looks_the_same_in_every_process(self) -> None:
        pictures = [render(scene, Moment(scene.labels[0], 3, 12.0)).tobytes() for scene in SCENES]
        run = subprocess.run([sys.executable, "-c", _HASH], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == hashlib.sha256(b"".join(pictures)).hexdigest()

    def test_there_are_many_with_two_to_five_states_and_strangers(self) -> None:
        assert len(SCENES) >= 5
        assert {len(scene.labels) for scene in SCENES} >= {2, 3, 5}
        assert all(2 <= len(scene.labels) <= 5 and len(scene.strangers) >= 3 for scene in SCENES)

    @pytest.mark.parametrize("scene", SCENES, ids=BY_NAME)
    def test_states_and_strangers_differ_in_the_region_and_days_everywhere(self, scene: Scene) -> None:
        regions = [
            render(scene, Moment(state, 3, 12.0), scene.window) for state in (*scene.labels, *scene.strangers)
        ]
        differences = [np.abs(one.astype(int) - regions[0]).mean() for one in regions[1:]]
        assert min(differences) > 1
        first, other = (render(scene, Moment(scene.labels[0], day, 12.0)).astype(int) for day in (3, 5))
        assert np.abs(first - other).mean() > 1

    @pytest.mark.parametrize("hour", [2.0, 7.5, 12.0])
    def test_a_region_alone_is_what_is_cut_out_of_the_whole_picture(self, hour: float) -> None:
        for scene in SCENES:
            moment = Moment(scene.labels[-1], 4, hour, 1, 2)
            assert np.array_equal(render(scene, moment, scene.window), cut(scene, render(scene, moment)))

    def test_nights_outdoors_are_dark_and_grey(self) -> None:
        scene = BY_NAME["bay"]
        assert light_at(day_of(scene.name, 3), 1.0).is_night
        day, night = (render(scene, Moment("car", 3, hour)).astype(int) for hour in (12.0, 1.0))
        assert (night[..., 0] == night[..., 2]).all()
        assert night.mean() < day.mean()


class TestSample:
    def test_no_day_is_both_taught_and_judged(self) -> None:
        for scene in SCENES:
            days = [
                {moment.day for moment in moments}
                for moments in (
                    taught(scene, QUICK),
                    [*judged(scene, QUICK), *strangers(scene, QUICK)],
                    [each.moment for each in watched(scene, QUICK)],
                )
            ]
            assert len(set.union(*days)) == sum(map(len, days))

    def test_a_watched_day_goes_from_midnight_to_midnight_with_changes_and_strangers(self) -> None:
        for scene in SCENES:
            frames = watched(scene, replace(QUICK, watched_every_min=1))
            assert [each.minute for each in frames] == list(range(1440))
            states = {each.moment.state for each in frames}
            assert len(states & set(scene.labels)) >= 2
            assert states & set(scene.strangers)


def fake(states: list[str], minutes: int = 0) -> SceneFeatures:
    """Features that say the state and nothing else."""
    labels = ("off", "on")
    backbone = Backbone("ab" * 32, "native-fp32", 8)

    def seen(names: list[str], days: int) -> Seen:
        axes = {"off": 0, "on": 1}
        rows = np.stack([np.eye(8)[axes.get(name, 2)] for name in names]).astype(np.float16)
        place = range(len(names))
        visits = tuple(number // IN_BURST % 2 for number in place)
        return Seen(
            tuple(names),
            tuple(number // (2 * IN_BURST) % days for number in place),
            tuple(12.0 for _ in place),
            visits,
            np.full(len(names), 100, np.float32),
            rows,
            rows,
        )

    shown = seen(["off"] * 24 + ["on"] * 24, 6)
    return SceneFeatures(
        "lamp", labels, backbone, shown, shown, shown, seen(states, 1), tuple(range(minutes or len(states)))
    )


def said(labels: list[str], accepted: list[bool] | None = None) -> Verdicts:
    certain = np.ones(len(labels), np.float32)
    flags = np.array(accepted if accepted else [True] * len(labels))
    return Verdicts(tuple(labels), certain, certain, flags)


class TestDraws:
    @pytest.mark.parametrize("of_each", [1, 3, 10])
    def test_an_owner_shows_so_many_of_each_label_in_bursts_by_day_and_at_night(self, of_each: int) -> None:
        seen = fake(["on"])
        examples = draw(seen, of_each, 0)
        for label in seen.labels:
            mine = [each for each in examples if each.label == label]
            assert len(mine) == of_each
            assert len({each.burst for each in mine}) == -(-of_each // IN_BURST)
        assert [each.key for each in draw(seen, of_each, 0)] == [each.key for each in examples]


class TestJudging:
    def test_strangers_are_counted_where_nearly_all_that_was_taught_is_known(self) -> None:
        known = replace(said(["a"] * 100), familiar=np.arange(100, dtype=np.float32))
        strange = replace(said(["a"] * 4), familiar=np.array([-1, 4.5, 5, 50], np.float32))
        found = marks(known, ["a"] * 90 + ["b"] * 10, strange)
        assert (found.accuracy, found.strangers) == (0.9, 0.5)

    def test_who_is_always_right_says_nothing_false_and_misses_nothing(self) -> None:
        states = ["off"] * 10 + ["on"] * 10 + ["stranger"] * 10 + ["on"] * 10
        right = said(states, [state != "stranger" for state in states])
        found = watch(fake(states), by_verdicts(right))
        assert (found.true, found.false, found.missed) == (4, 0, 0)

    def test_a_flap_is_two_false_events_and_a_stranger_taken_for_known_is_missed(self) -> None:
        states = ["off"] * 20 + ["stranger"] * 10
        answers = ["off"] * 8 + ["on"] * 4 + ["off"] * 18
        found = watch(fake(states), by_verdicts(said(answers)))
        assert (found.true, found.false, found.missed) == (2, 2, 1)

    def test_a_head_is_asked_with_the_label_that_is_published(self) -> None:
        states = ["off"] * 10 + ["on"] * 10
        seen = fake(states)
        head = fit(draw(seen, 10, 0), seen.backbone).head
        found = watch(seen, by_head(head, seen.watched.region))
        assert (found.true, found.false, found.missed) == (2, 0, 0)

    @pytest.mark.parametrize("head", HEADS)
    def test_every_head_learns_what_is_easy(self, head: str) -> None:
        seen = fake(["on"])
        verdicts = HEADS[head](draw(seen, 10, 0), seen.backbone)(seen.judged.region)
        right = np.mean([one == other for one, other in zip(verdicts.best, seen.judged.states, strict=True)])
        assert right == 1.0

    def test_adam_separates_two_clusters(self) -> None:
        chance = np.random.default_rng(1)
        truth = np.repeat([0, 1], 40)
        rows = (chance.normal(size=(80, 20)) + 3 * (2 * truth[:, None] - 1)).astype(np.float32)
        weights, bias = adam(rows, truth, 2)
        assert np.mean((rows @ weights + bias).argmax(axis=1) == truth) > 0.95


class TestPage:
    def test_a_document_keeps_what_is_around_the_figures(self, tmp_path: Path) -> None:
        document = tmp_path / "page.md"
        document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        write(document, "new\n")
        assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"

    def test_a_document_without_a_place_for_them_is_refused(self, tmp_path: Path) -> None:
        document = tmp_path / "page.md"
        document.write_text("nothing\n")
        with pytest.raises(UsageError, match="no place"):
            write(document, "new")


@needs_native
def test_the_whole_bench_writes_plausible_figures(lite0: Artifact, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = {kind: tmp_path / f"teaching.{kind}" for kind in ("json", "svg", "md")}
    files["md"].write_text(f"# Teaching\n\n{BEGIN}\n{END}\n")
    options = ["--quick", "--scenes", "lamp", "--draws", "1", "--jobs", "1", "--model", str(lite0.directory)]
    outputs = ["--json", str(files["json"]), "--svg", str(files["svg"]), "--page", str(files["md"])]
    assert main([*options, *outputs]) in (0, 1)
    document = json.loads(files["json"].read_text())
    of_ours = {(row["view"], row["of_each"]): row for row in document["rows"] if row["head"] == "ours"}
    assert 0.8 < of_ours["region", 10]["accuracy"] <= 1
    assert 0 <= of_ours["region", 10]["strangers"] < 0.8
    assert len(document["targets"]) == 4  # memory is left out
    (cost,) = document["costs"]
    assert cost["seconds"] > 0
    assert cost["memory"] is None
    assert "<svg" in files["svg"].read_text()
    page = files["md"].read_text()
    assert "| lamp " in page
    assert "this agent, whole picture" in page
