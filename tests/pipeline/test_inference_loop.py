"""The inference loop on still and changing scenes: a real model, a clock that the test moves."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.loader import parse
from edge_agent.config.schema import (
    Config,
    LabelsConfig,
    MemoryConfig,
    ModelConfig,
    MotionConfig,
    PublishConfig,
    StabilizerConfig,
)
from edge_agent.frame import Frame
from edge_agent.inference.loading import LoadedModel, label_map, load_model
from edge_agent.model.sidecar import Artifact
from edge_agent.mqtt.contract.payloads import EventImageInfo, LabelChanged, RawPrediction, State, encode
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.latest import LatestFrame
from edge_agent.pipeline.rules import Rules
from edge_agent.pipeline.stabilizer import UNKNOWN
from edge_agent.sources.picture import read_picture
from edge_agent.system.systemd import WatchdogGate
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES, BundledPicture
from tests.clock import FakeClock
from tests.daemon.assembled import fake_model

PERIOD_S = 0.5
BY_NAME = {picture.name: picture for picture in BUNDLED_PICTURES}
CAT, DOG = BY_NAME["cat.jpg"], BY_NAME["dog.jpg"]
RULES = Rules(
    StabilizerConfig(window=3, votes=2, threshold=0.1, hysteresis=0.0),
    PublishConfig(),
    MotionConfig(enabled=True, max_skip_s=10.0),
)

Scene = BundledPicture | Callable[[InferenceLoop], None]
"""A picture to show for one frame; or what is done to the loop before the next one."""


class Scenes(LatestFrame):
    """Shows a picture each PERIOD_S, with a sensor's noise, and ends after the last."""

    def __init__(self, script: Sequence[Scene], clock: FakeClock) -> None:
        super().__init__()
        self._script = list(script)
        self._clock = clock
        self._random = np.random.default_rng(5)
        self._shown = 0
        self._pictures = {
            scene.name: read_picture(scene.path) for scene in script if isinstance(scene, BundledPicture)
        }
        self.loop: InferenceLoop | None = None

    @property
    def closed(self) -> bool:
        return not self._script

    def take(self, timeout_s: float) -> Frame | None:  # noqa: ARG002
        if not self._script:
            return None
        scene = self._script.pop(0)
        if not isinstance(scene, BundledPicture):
            assert self.loop is not None
            scene(self.loop)
            return None
        self._clock.advance(PERIOD_S)
        self._shown += 1
        return Frame(self._shown, self._clock.now_s, 1.0, self._noisy(self._pictures[scene.name]))

    def _noisy(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        noisy: NDArray[np.int16] = pixels + self._random.integers(-6, 7, pixels.shape, np.int16)
        return noisy.clip(0, 255).astype(np.uint8)


@dataclass
class Sink:
    """Keeps what is published."""

    states: list[State] = field(default_factory=list)
    events: list[LabelChanged] = field(default_factory=list)
    pictures: list[tuple[bytes, EventImageInfo]] = field(default_factory=list)

    def publish_state(self, state: State) -> None:
        self.states.append(state)

    def publish_event(self, changed: LabelChanged) -> None:
        self.events.append(changed)

    def publish_prediction(self, prediction: RawPrediction) -> None:
        raise AssertionError(f"not asked for: {prediction}")

    def publish_image(self, jpeg: bytes) -> None:
        raise AssertionError(f"not asked for: {len(jpeg)} bytes")

    def publish_event_image(self, jpeg: bytes, info: EventImageInfo) -> None:
        self.pictures.append((jpeg, info))

    @property
    def frames_published(self) -> list[int]:
        return [state.frame.id for state in self.states]


class CountingGate(WatchdogGate):
    """Counts the frames that got through."""

    def __init__(self) -> None:
        super().__init__()
        self.processed_count = 0

    def processed(self) -> None:
        super().processed()
        self.processed_count += 1


@pytest.fixture(scope="module")
def config(lite0: Artifact) -> Config:
    return Config(model=ModelConfig(path=lite0.directory), memory=MemoryConfig(budget_mb=4096))


@pytest.fixture
def model(config: Config) -> Iterator[LoadedModel]:
    loaded = load_model(config.model, config.memory, config.labels, {})
    yield loaded
    loaded.close()


def played(model: LoadedModel, script: Sequence[Scene], rules: Rules = RULES) -> tuple[InferenceLoop, Sink]:
    """The loop and its sink after the whole script."""
    loop, sink, _ = watched(model, script, rules)
    return loop, sink


def watched(
    model: LoadedModel,
    script: Sequence[Scene],
    rules: Rules = RULES,
    last_label: LastLabel | None = None,
) -> tuple[InferenceLoop, Sink, CountingGate]:
    """The same, and the watchdog's gate."""
    clock, sink, gate = FakeClock(), Sink(), CountingGate()
    scenes = Scenes(script, clock)
    numbers = itertools.count(1)
    loop = InferenceLoop(
        scenes,
        model,
        rules,
        sink,
        lambda: next(numbers),
        lambda region: last_label or LastLabel(Path("/nowhere"), None, region),
        clock,
        gate,
    )
    scenes.loop = loop
    loop.run()
    return loop, sink, gate


def test_without_the_gate_every_frame_is_classified(model: LoadedModel) -> None:
    loop, sink = played(model, [CAT] * 6, replace(RULES, motion=MotionConfig(enabled=False)))
    assert (loop.classified, loop.skipped, sink.frames_published) == (6, 0, [1, 2, 3, 4, 5, 6])


def test_a_still_scene_is_skipped_and_looked_at_as_often_as_was_set(model: LoadedModel) -> None:
    loop, sink = played(model, [CAT] * 60)
    # Two frames until the votes agree; then one each 10 seconds, from the second on.
    assert sink.frames_published == [1, 2, 21, 41]
    assert (loop.classified, loop.skipped) == (4, 56)
    assert {state.label for state in sink.states[1:]} < CAT.labels


def test_a_skipped_frame_is_progress_and_counts_in_the_saving(model: LoadedModel) -> None:
    loop, _, gate = watched(model, [CAT] * 20)
    assert gate.processed_count == 20
    rate = loop.take_rate()
    assert (rate.frames, rate.skipped, rate.skipped_percent) == (2, 18, 90)


def test_a_change_of_scene_is_voted_on_and_published_as_without_the_gate(model: LoadedModel) -> None:
    script = [CAT] * 6 + [DOG] * 4
    loop, sink = played(model, script)
    _, all_frames = played(model, script, replace(RULES, motion=MotionConfig(enabled=False)))
    assert [(event.from_label, event.to_label, event.ts) for event in sink.events] == [
        (event.from_label, event.to_label, event.ts) for event in all_frames.events
    ]
    assert sink.events[-1].to_label in DOG.labels
    assert loop.skipped == 4


def test_a_vote_that_is_open_is_finished_before_anything_is_skipped(model: LoadedModel) -> None:
    slow = StabilizerConfig(window=5, votes=5, threshold=0.1, hysteresis=0.0)
    _, sink = played(model, [CAT] * 15, replace(RULES, stabilizer=slow))
    assert sink.frames_published == [1, 2, 3, 4, 5]
    assert [event.to_label in CAT.labels for event in sink.events] == [True]


def test_the_heartbeat_is_kept_in_a_still_scene(model: LoadedModel) -> None:
    rules = Rules(
        RULES.stabilizer,
        PublishConfig(state="on_change", heartbeat_s=5.0),
        MotionConfig(enabled=True, max_skip_s=3600.0),
    )
    _, sink = played(model, [CAT] * 40, rules)
    # The first, the change of the label, and then one each 5 seconds.
    assert sink.frames_published == [1, 2, 12, 22, 32]


def test_another_name_for_the_label_is_published_although_nothing_moves(model: LoadedModel) -> None:
    renamed = LabelsConfig(map=dict.fromkeys(CAT.labels, "cat"))
    labels = label_map(model.artifact, renamed)

    def rename(loop: InferenceLoop) -> None:
        loop.between_frames(lambda: model.classifier.use_labels(labels))

    _, sink = played(model, [CAT] * 8 + [rename] + [CAT] * 8)
    assert sink.frames_published == [1, 2, 9, 10]
    assert sink.events[-1].to_label == "cat"


def test_another_model_answers_from_the_next_frame_on(model: LoadedModel) -> None:
    other = fake_model("mug")
    before = model.classifier.classify(Frame(1, 0.0, 1.0, read_picture(CAT.path))).top[0].label

    def exchange(loop: InferenceLoop) -> None:
        loop.between_frames(lambda: loop.use_model(other))

    # Nothing moves, and still the other model is asked: the same scene may have another answer now.
    loop, sink = played(model, [CAT] * 8 + [exchange] + [CAT] * 8)
    assert loop.model is other
    assert sink.states[0].model.name == "efficientnet_lite0"
    assert sink.states[-1].model.name == "tiny"
    assert [event.to_label for event in sink.events] == [before, "mug"]


def test_a_restart_announces_only_what_differs_from_the_label_before(
    model: LoadedModel, tmp_path: Path
) -> None:
    """The state begins as unknown each time; but nobody was ever given that as a change."""

    def run(scene: BundledPicture) -> list[tuple[bool, bool]]:
        last_label = LastLabel(tmp_path, None)
        _, sink, _ = watched(model, [scene] * 4, last_label=last_label)
        last_label.close()
        assert sink.states[0].label == UNKNOWN
        return [(event.from_label == UNKNOWN, event.to_label in scene.labels) for event in sink.events]

    assert run(CAT) == [(True, True)]
    assert run(CAT) == []
    assert run(DOG) == [(False, True)]
    assert run(DOG) == []


def test_a_scene_that_has_become_unknown_over_a_restart_is_announced(
    model: LoadedModel, tmp_path: Path
) -> None:
    sure = replace(RULES, stabilizer=replace(RULES.stabilizer, threshold=1.0))
    (tmp_path / "last-label").write_text("cat")
    _, sink, _ = watched(model, [CAT] * 4, sure, LastLabel(tmp_path, None))
    assert [(event.from_label, event.to_label) for event in sink.events] == [("cat", UNKNOWN)]


@pytest.mark.parametrize(
    ("written", "home_assistant", "published"),
    [
        ("", False, 4),
        ("", True, 2),
        ("publish: {state: every_frame}", True, 4),
        ("publish: {state: on_change}", False, 2),
    ],
)
def test_home_assistants_recorder_is_spared_unless_the_owner_says_otherwise(
    model: LoadedModel, written: str, home_assistant: bool, published: int
) -> None:
    text = f"homeassistant: {{enabled: {str(home_assistant).lower()}}}\n{written}"
    config = parse(text, "edge-agent.yaml", hostname="porch")
    rules = replace(RULES, publish=Rules.from_config(config).publish, motion=MotionConfig())
    _, sink = played(model, [CAT] * 4, rules)
    # With on_change: the first, and the one with which the votes decide.
    assert len(sink.states) == published


def test_each_event_has_the_picture_of_its_own_frame(model: LoadedModel) -> None:
    rules = replace(RULES, publish=PublishConfig(event_image=True))
    _, sink = played(model, [CAT] * 4 + [DOG] * 4, rules)
    assert [info.seq for _, info in sink.pictures] == [event.seq for event in sink.events]
    for (jpeg, info), event, scene in zip(sink.pictures, sink.events, (CAT, DOG), strict=True):
        assert (info.label, info.ts) == (event.to_label, event.ts)
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert picture.info["comment"] == encode(info)
            difference = np.asarray(picture, np.int16) - read_picture(scene.path)
        assert np.abs(difference).mean() < 15


def test_no_picture_is_made_unless_it_was_asked_for(model: LoadedModel) -> None:
    _, sink = played(model, [CAT] * 4)
    assert (len(sink.events), sink.pictures) == (1, [])
