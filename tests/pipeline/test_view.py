"""A view that was taught: what its head says is steadied and published as the network's own labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.config.schema import MotionConfig, PublishConfig, StabilizerConfig
from edge_agent.frame import Frame
from edge_agent.inference import Prediction, Score
from edge_agent.pipeline.answers import Moment
from edge_agent.pipeline.last_label import LastLabel
from edge_agent.pipeline.rules import Rules
from edge_agent.pipeline.stabilizer import UNKNOWN
from edge_agent.pipeline.view import Judged, View
from edge_agent.teach.examples import NONE
from edge_agent.teach.fitting import fit
from tests.teach.worlds import World, backbone

WORLD = World(features=64)
PIXELS = np.zeros((8, 8, 3), np.uint8)
RULES = Rules(StabilizerConfig(window=3, votes=2, threshold=0.3), PublishConfig(), MotionConfig())


class Watched:
    """A view whose network sees a thing of the world in each frame."""

    def __init__(self, state_dir: Path, rules: Rules = RULES, labels: tuple[str, ...] = ()) -> None:
        self.view = View("", rules, LastLabel(state_dir, None))
        self._frames = 0
        if labels:
            self.view.use_head(fit(WORLD.examples(range(4), 2, labels=labels), backbone(64)).head, {})

    def see(self, thing: str) -> Judged:
        self._frames += 1
        feature = WORLD.example(thing, 1, 100 + self._frames, dark=True).feature.astype(np.float32)
        prediction = Prediction((Score("network's own", 0, 0.9),), 0.0, 0.0, feature)
        moment = Moment(float(self._frames), 1e9 + self._frames, synced=True)
        return self.view.judge(Frame(self._frames, moment.monotonic_s, 0.0, PIXELS), prediction, moment)


def test_what_was_taught_as_none_is_published_as_unknown_and_the_state_says_why(tmp_path: Path) -> None:
    watched = Watched(tmp_path, labels=("a", "b", NONE))
    seen = [watched.see(thing) for thing in ("a", "a", NONE, NONE, NONE, "b", "b")]
    assert [judged.stable.label for judged in seen] == [UNKNOWN, "a", "a", UNKNOWN, UNKNOWN, UNKNOWN, "b"]
    assert [judged.head.why_unknown for judged in seen if judged.head] == [
        "",
        "",
        "none",
        "none",
        "none",
        "",
        "",
    ]
    announced = [(each.change.from_label, each.change.to_label) for each in seen if each.change]
    assert announced == [(UNKNOWN, "a"), ("a", UNKNOWN), (UNKNOWN, "b")]


def test_nothing_but_none_having_been_taught_every_frame_is_unknown(tmp_path: Path) -> None:
    watched = Watched(tmp_path, labels=(NONE,))
    assert {watched.see(thing).stable.label for thing in (NONE, "a", NONE)} == {UNKNOWN}


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.0])
def test_a_label_with_a_threshold_that_leaves_room_is_given_up_when_it_scores_nothing(
    tmp_path: Path, threshold: float
) -> None:
    rules = Rules(RULES.stabilizer, RULES.publish, RULES.motion, thresholds={"network's own": threshold})
    assert threshold >= rules.stabilizer.hysteresis
    watched = Watched(tmp_path, rules)
    assert [watched.see("a").stable.label for _ in range(2)][-1] == (
        "network's own" if threshold < 1 else UNKNOWN
    )
