"""Regions in the inference loop: each has its own answer, its own motion, and its turn."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.schema import (
    LabelsConfig,
    MemoryConfig,
    ModelConfig,
    MotionConfig,
    PublishConfig,
    RegionConfig,
    StabilizerConfig,
)
from edge_agent.frame import WHOLE, Box, Frame
from edge_agent.inference import Prediction
from edge_agent.inference.classifier import Classifier
from edge_agent.inference.loading import LoadedModel, load_model
from edge_agent.model.sidecar import Artifact
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.part import cut
from edge_agent.pipeline.rules import Rules
from edge_agent.sources.picture import read_picture
from edge_agent.system.systemd import WatchdogGate
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, BundledPicture
from tests.clock import FakeClock
from tests.pipeline.test_inference_loop import Sink

BY_NAME = {picture.name: picture for picture in BUNDLED_PICTURES}
CAT, DOG = BY_NAME["cat.jpg"], BY_NAME["dog.jpg"]
LEFT, RIGHT = RegionConfig((0.0, 0.0, 0.5, 1.0)), RegionConfig((0.5, 0.0, 0.5, 1.0))
RULES = Rules(
    StabilizerConfig(window=3, votes=2, threshold=0.1, hysteresis=0.0),
    PublishConfig(),
    MotionConfig(),
    {"left": LEFT, "right": RIGHT},
)


class SlowClassifier(Classifier):
    """Takes time by the test's clock."""

    def __init__(self, real: Classifier, clock: FakeClock, cost_s: float) -> None:
        self._real, self._test_clock, self._cost_s = real, clock, cost_s

    def classify(self, frame: Frame, k: int = 3) -> Prediction:
        self._test_clock.advance(self._cost_s)
        return self._real.classify(frame, k)


class Script(LatestFrame):
    """Shows a picture each half second, and ends after the last; a function is called between two."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.scenes: list[NDArray[np.uint8] | Callable[[], None]] = []
        self.window = WHOLE
        self._clock = clock
        self._shown = 0

    @property
    def closed(self) -> bool:
        return not self.scenes

    def take(self, timeout_s: float) -> Frame | None:  # noqa: ARG002
        if not self.scenes:
            return None
        scene = self.scenes.pop(0)
        if callable(scene):
            scene()
            return None
        self._clock.advance(0.5)
        self._shown += 1
        return Frame(self._shown, self._clock.now_s, 1.0, scene, window=self.window)


class Bench:
    """A loop that is shown pictures."""

    def __init__(
        self, model: LoadedModel, state_dir: Path, rules: Rules = RULES, cost_s: float = 0.0
    ) -> None:
        self.clock, self.sink = FakeClock(), Sink()
        if cost_s:
            model = replace(model, classifier=SlowClassifier(model.classifier, self.clock, cost_s))
        numbers = itertools.count(1)
        self._script = Script(self.clock)
        self.loop = InferenceLoop(
            self._script,
            model,
            rules,
            self.sink,
            lambda: next(numbers),
            lambda region: LastLabel(state_dir, None, region),
            self.clock,
            WatchdogGate(),
        )

    def show(self, *scenes: NDArray[np.uint8] | Callable[[], None], window: Box = WHOLE) -> dict[str, str]:
        """Let the loop see these, which show `window`; returns the latest published label of each region."""
        before = len(self.sink.states)
        self._script.window = window
        self._script.scenes += scenes
        self.loop.run()
        return {state.region: state.label for state in self.sink.states[before:]}


@pytest.fixture(scope="module")
def model(lite0: Artifact) -> Iterator[LoadedModel]:
    names = LabelsConfig(map=dict.fromkeys(CAT.labels, "cat") | dict.fromkeys(DOG.labels, "dog"))
    loaded = load_model(ModelConfig(path=lite0.directory), MemoryConfig(budget_mb=4096), names, {})
    yield loaded
    loaded.close()


def side_by_side(left: BundledPicture, right: BundledPicture) -> NDArray[np.uint8]:
    size = (320, 320)
    return np.hstack(
        [np.asarray(Image.fromarray(read_picture(each.path)).resize(size)) for each in (left, right)]
    )


def test_each_region_has_an_answer_of_its_own(model: LoadedModel, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path)
    assert bench.show(*[side_by_side(CAT, DOG)] * 3) == {"left": "cat", "right": "dog"}
    assert [(event.region, event.to_label) for event in bench.sink.events] == [
        ("left", "cat"),
        ("right", "dog"),
    ]
    assert bench.loop.classified == 3
    assert bench.loop.shown.startswith("left: cat ")
    bench.show(*[side_by_side(CAT, CAT)] * 3)
    assert [(event.region, event.to_label) for event in bench.sink.events[2:]] == [("right", "cat")]
    seqs = [state.seq for state in bench.sink.states] + [event.seq for event in bench.sink.events]
    assert len(set(seqs)) == len(seqs)


def test_a_region_in_which_nothing_moves_is_not_classified_again(model: LoadedModel, tmp_path: Path) -> None:
    rules = replace(RULES, motion=MotionConfig(enabled=True, max_skip_s=600.0))
    bench = Bench(model, tmp_path, rules)
    bench.show(*[side_by_side(CAT, DOG)] * 4)
    begin = len(bench.sink.states)
    bench.show(*[side_by_side(CAT, CAT)] * 4)
    assert {state.region for state in bench.sink.states[begin:]} == {"right"}
    assert bench.loop.skipped > 0


def test_regions_can_be_added_moved_and_removed_while_it_runs(model: LoadedModel, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path)
    bench.show(*[side_by_side(CAT, DOG)] * 3)
    moved = replace(RULES, regions={"left": RIGHT, "all": RegionConfig()})

    def adopt() -> None:
        bench.loop.between_frames(lambda: bench.loop.adopt(moved))

    assert bench.show(adopt, *[side_by_side(CAT, DOG)] * 3).keys() == {"left", "all"}
    assert bench.loop.view("left").shown.startswith("dog")  # type: ignore[union-attr]
    assert bench.loop.view("right") is None
    # What subscribers knew of the region that went is kept for the day that it comes back.
    assert (tmp_path / "last-label.right").read_text() == "dog"


def test_a_label_is_known_over_a_restart_region_by_region(model: LoadedModel, tmp_path: Path) -> None:
    first = Bench(model, tmp_path)
    first.show(*[side_by_side(CAT, DOG)] * 3)
    first.loop.close()
    second = Bench(model, tmp_path)
    second.show(*[side_by_side(CAT, CAT)] * 3)
    assert [(e.region, e.from_label, e.to_label) for e in second.sink.events] == [("right", "dog", "cat")]


def test_where_time_is_short_regions_take_turns_by_priority(model: LoadedModel, tmp_path: Path) -> None:
    regions = {"left": replace(LEFT, priority=3), "right": RIGHT}
    bench = Bench(model, tmp_path, replace(RULES, regions=regions, period_s=0.5), cost_s=0.3)
    bench.show(*[side_by_side(CAT, DOG)] * 40)
    turns = Counter(state.region for state in bench.sink.states)
    assert (turns.total(), turns["left"]) == (40, 30)
    bench.loop.adopt(replace(RULES, regions=regions, period_s=1.0))
    assert bench.show(side_by_side(CAT, DOG)).keys() == {"left", "right"}


def test_a_region_is_found_in_a_frame_that_shows_a_part_of_the_picture(
    model: LoadedModel, tmp_path: Path
) -> None:
    bench = Bench(model, tmp_path, replace(RULES, regions={"left": LEFT}))
    assert bench.show(*[side_by_side(CAT, DOG)] * 3) == {"left": "cat"}
    cat = side_by_side(CAT, DOG)[:, :320]
    assert bench.show(*[cat] * 3, window=(0.0, 0.0, 0.5, 1.0)) == {"left": "cat"}
    dog_and_cat = side_by_side(DOG, CAT)
    assert bench.show(*[dog_and_cat] * 3, window=(-0.5, 0.0, 1.0, 1.0)) == {"left": "cat"}
    assert bench.loop.classified == 9


def test_a_frame_that_does_not_show_a_region_says_nothing_of_it(model: LoadedModel, tmp_path: Path) -> None:
    """As while a camera follows the configuration from one region to another."""
    bench = Bench(model, tmp_path, replace(RULES, regions={"left": LEFT, "right": RIGHT}))
    assert bench.show(*[side_by_side(CAT, DOG)] * 2, window=(0.5, 0.0, 0.5, 1.0)).keys() == {"right"}
    assert bench.show(*[side_by_side(CAT, DOG)] * 2, window=(0.2, 0.0, 0.5, 1.0)) == {}
    assert (bench.loop.classified, bench.loop.skipped) == (2, 0)


def test_a_region_of_few_pixels_is_warned_of_once_for_each_size(
    model: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    regions = {"gate": RegionConfig((0.0, 0.0, 0.1, 1.0)), "door": LEFT}
    bench = Bench(model, tmp_path, replace(RULES, regions=regions, source_type="v4l2"))
    bench.show(*[side_by_side(CAT, DOG)] * 9)
    assert caplog.messages == [], "a camera that crops needs some frames to show a region larger"
    bench.show(*[side_by_side(CAT, DOG)] * 20)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("region gate has 64 x 320 pixels: ")
    assert "source.v4l2.width and height" in caplog.messages[0]
    bench.show(*[side_by_side(CAT, DOG)[::2, ::2]] * 20)
    assert [message.split(":")[0] for message in caplog.messages[1:]] == ["region gate has 32 x 160 pixels"]


def test_a_picture_of_an_event_shows_its_region_alone(model: LoadedModel, tmp_path: Path) -> None:
    bench = Bench(model, tmp_path, replace(RULES, publish=PublishConfig(event_image=True)))
    bench.show(*[side_by_side(CAT, DOG)] * 3)
    assert [info.region for _, info in bench.sink.pictures] == ["left", "right"]
    assert {Image.open(io.BytesIO(jpeg)).size for jpeg, _ in bench.sink.pictures} == {(320, 320)}


@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_cut_is_never_empty_and_never_beyond_the_picture(
    size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    left, top, width, height = box
    box = (left, top, min(width, 1 - left), min(height, 1 - top))
    pixels = np.zeros((*size, 3), np.uint8)
    part = cut(pixels, box)
    assert part.size
    assert part.base is pixels
    assert abs(part.shape[1] - box[2] * size[1]) <= 1.5
    assert abs(part.shape[0] - box[3] * size[0]) <= 1.5
