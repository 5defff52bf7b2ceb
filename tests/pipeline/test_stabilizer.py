"""The stabiliser and the publish gate, driven frame by frame with a made-up clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.schema import StabilizerConfig
from edge_agent.inference import Score
from edge_agent.pipeline.stabilizer import FLAP_S, UNKNOWN, LabelChange, PublishGate, Stabilizer, Stable

CAT, DOG, FOX = "cat", "dog", "fox"


@dataclass(frozen=True)
class Seen:
    """A frame's best label, or none."""

    label: str | None
    score: float
    at_s: float

    @property
    def top(self) -> tuple[Score, ...]:
        return () if self.label is None else (Score(self.label, 0, self.score), Score("other", 1, 0.01))


def play(stabilizer: Stabilizer, labels: str, score: float = 0.9, start_s: float = 0.0) -> list[Stable]:
    """Feed one frame a second: `c`, `d`, `f` for an animal, `.` for a frame below every threshold."""
    names = {"c": CAT, "d": DOG, "f": FOX, ".": CAT}
    return [
        stabilizer.update((Score(names[code], 0, 0.0 if code == "." else score),), start_s + second)
        for second, code in enumerate(labels)
    ]


def shown(results: list[Stable]) -> list[str]:
    return [result.label for result in results]


def rules(
    window: int = 1,
    votes: int = 1,
    threshold: float = 0.3,
    hysteresis: float = 0.0,
    min_hold_s: float = 0.0,
) -> StabilizerConfig:
    return StabilizerConfig(window, votes, threshold, hysteresis, min_hold_s)


@st.composite
def all_rules(draw: st.DrawFn) -> StabilizerConfig:
    window = draw(st.integers(1, 6))
    threshold = draw(st.floats(0, 1))
    return StabilizerConfig(
        window=window,
        votes=draw(st.integers(1, window)),
        threshold=threshold,
        hysteresis=draw(st.floats(0, threshold)),
        min_hold_s=draw(st.sampled_from((0.0, 0.5, 3.0, 10.0))),
    )


@st.composite
def films(draw: st.DrawFn) -> list[Seen]:
    frames = st.tuples(
        st.sampled_from((CAT, DOG, FOX, None)), st.floats(0, 1), st.floats(0, 5, allow_subnormal=False)
    )
    film, now_s = [], 100.0
    for label, score, pause_s in draw(st.lists(frames, max_size=60)):
        now_s += pause_s
        film.append(Seen(label, score, now_s))
    return film


def test_the_label_changes_when_enough_of_the_recent_frames_agree() -> None:
    assert shown(play(Stabilizer(rules(window=3, votes=2)), "cdcc")) == [UNKNOWN, UNKNOWN, CAT, CAT]


def test_a_single_odd_frame_does_not_show() -> None:
    assert shown(play(Stabilizer(rules(window=3, votes=2)), "ccdcc")) == [UNKNOWN, CAT, CAT, CAT, CAT]


def test_votes_that_are_older_than_the_window_do_not_count() -> None:
    assert shown(play(Stabilizer(rules(window=3, votes=3)), "cc.c.cc")) == [UNKNOWN] * 7


def test_a_change_is_reported_once_with_both_labels_and_the_score() -> None:
    results = play(Stabilizer(rules()), "cc", score=0.8) + play(Stabilizer(rules()), "d", score=0.7)
    changes = [result.change for result in results]
    assert changes == [LabelChange(UNKNOWN, CAT, 0.8), None, LabelChange(UNKNOWN, DOG, 0.7)]


def test_of_two_labels_with_as_many_votes_the_present_one_stays() -> None:
    assert shown(play(Stabilizer(rules(window=4, votes=2)), "ccddccdd"))[2:] == [CAT] * 6


def test_a_score_below_the_threshold_is_unknown_and_its_score_is_shown() -> None:
    stabilizer = Stabilizer(rules(threshold=0.5))
    result = stabilizer.update((Score(CAT, 0, 0.49),), 0.0)
    assert result == Stable(UNKNOWN, 0.49, True, None)


def test_the_present_label_is_kept_down_to_threshold_minus_hysteresis() -> None:
    stabilizer = Stabilizer(rules(threshold=0.5, hysteresis=0.1))
    scores = (0.45, 0.5, 0.41, 0.39, 0.45)
    results = [stabilizer.update((Score(CAT, 0, score),), at_s) for at_s, score in enumerate(scores)]
    assert shown(results) == [UNKNOWN, CAT, CAT, UNKNOWN, UNKNOWN]


def test_a_label_with_a_threshold_of_its_own_follows_that() -> None:
    config = rules(threshold=0.5, hysteresis=0.1)
    sure = Stabilizer(config, {CAT: 0.9})
    assert shown(play(sure, "c", score=0.8)) == [UNKNOWN]
    assert shown(play(sure, "d", score=0.8)) == [DOG]
    assert shown(play(sure, "c", score=0.95)) == [CAT]
    assert shown(play(sure, "c", score=0.81)) == [CAT]  # as the present one
    sure.adopt(config)
    assert shown(play(sure, "dc", score=0.8)) == [DOG, CAT]


def test_another_label_gets_no_hysteresis() -> None:
    stabilizer = Stabilizer(rules(threshold=0.5, hysteresis=0.1))
    stabilizer.update((Score(CAT, 0, 0.9),), 0.0)
    assert stabilizer.update((Score(DOG, 1, 0.45),), 1.0).label == UNKNOWN


def test_a_label_is_held_for_its_least_time_and_then_gives_way() -> None:
    assert shown(play(Stabilizer(rules(min_hold_s=3)), "cdddd")) == [CAT, CAT, CAT, DOG, DOG]


def test_a_held_label_keeps_its_last_score() -> None:
    stabilizer = Stabilizer(rules(min_hold_s=10))
    stabilizer.update((Score(CAT, 0, 0.9),), 0.0)
    assert stabilizer.update((Score(DOG, 1, 0.7),), 1.0).score == 0.9


def test_a_frame_without_an_allowed_label_votes_for_unknown() -> None:
    stabilizer = Stabilizer(rules())
    stabilizer.update((Score(CAT, 0, 0.9),), 0.0)
    assert stabilizer.update((), 1.0) == Stable(UNKNOWN, 0.0, True, LabelChange(CAT, UNKNOWN, 0.0))


def test_a_quick_return_to_the_label_left_is_counted_as_a_flap() -> None:
    stabilizer = Stabilizer(rules())
    play(stabilizer, "cdcd")
    assert stabilizer.flaps == 2


def test_a_return_after_a_while_or_by_way_of_another_label_is_no_flap() -> None:
    stabilizer = Stabilizer(rules())
    play(stabilizer, "cdf")
    play(stabilizer, "d", start_s=2 + FLAP_S)
    play(stabilizer, "cf", start_s=20 + FLAP_S)
    assert stabilizer.flaps == 0


def test_other_rules_apply_from_the_next_frame_and_keep_label_and_votes() -> None:
    stabilizer = Stabilizer(rules(window=3, votes=2))
    play(stabilizer, "ccd")
    stabilizer.adopt(rules(window=5, votes=3))
    assert shown(play(stabilizer, "dd", start_s=3)) == [CAT, DOG]


def test_a_smaller_window_forgets_the_oldest_votes() -> None:
    stabilizer = Stabilizer(rules(window=5, votes=2))
    play(stabilizer, "ccccc")
    stabilizer.adopt(rules(window=2, votes=2))
    assert shown(play(stabilizer, "dd", start_s=5)) == [CAT, DOG]


@given(all_rules(), films())
def test_no_label_is_left_before_its_least_time(config: StabilizerConfig, film: list[Seen]) -> None:
    stabilizer = Stabilizer(config)
    changed_s = [seen.at_s for seen in film if stabilizer.update(seen.top, seen.at_s).change]
    assert all(later - earlier >= config.min_hold_s for earlier, later in pairwise(changed_s))


@given(all_rules(), films())
def test_whatever_becomes_the_label_had_enough_votes(config: StabilizerConfig, film: list[Seen]) -> None:
    stabilizer = Stabilizer(config)
    lowest = config.threshold - config.hysteresis
    for number, seen in enumerate(film, start=1):
        change = stabilizer.update(seen.top, seen.at_s).change
        if change is None:
            continue
        recent = film[max(0, number - config.window) : number]
        if change.to_label == UNKNOWN:
            voters = [frame for frame in recent if not frame.top or frame.score < config.threshold]
        else:
            voters = [frame for frame in recent if frame.label == change.to_label and frame.score >= lowest]
        assert len(voters) >= config.votes


@given(all_rules(), films())
def test_changes_form_a_chain_and_explain_every_label(config: StabilizerConfig, film: list[Seen]) -> None:
    stabilizer = Stabilizer(config)
    present = UNKNOWN
    for seen in film:
        result = stabilizer.update(seen.top, seen.at_s)
        if result.change is not None:
            assert result.change.from_label == present != result.change.to_label
            assert result.change.score == result.score
            present = result.change.to_label
        assert result.label == present
        assert result.unknown == (result.label == UNKNOWN)
        assert 0 <= result.score <= 1


@given(all_rules(), films(), st.sampled_from((CAT, DOG)))
def test_a_still_scene_wins_within_a_window_where_no_hold_is_longer(
    config: StabilizerConfig, film: list[Seen], label: str
) -> None:
    stabilizer = Stabilizer(config)
    for seen in film:
        stabilizer.update(seen.top, seen.at_s)
    later_s, pause_s = 1000.0, config.min_hold_s + 1
    for number in range(config.window):
        result = stabilizer.update((Score(label, 0, 1.0),), later_s + number * pause_s)
    assert result.label == label


@given(all_rules().filter(lambda config: config.threshold > 0), films())
def test_nothing_below_the_threshold_is_ever_shown(config: StabilizerConfig, film: list[Seen]) -> None:
    stabilizer = Stabilizer(config)
    unsure = [seen for seen in film if seen.score < config.threshold]
    assert all(stabilizer.update(seen.top, seen.at_s).unknown for seen in unsure)
    assert stabilizer.flaps == 0


@given(all_rules(), films(), st.dictionaries(st.sampled_from((CAT, DOG, FOX)), st.floats(0.01, 1)))
def test_no_label_is_shown_by_frames_below_its_own_threshold(
    config: StabilizerConfig, film: list[Seen], thresholds: dict[str, float]
) -> None:
    stabilizer = Stabilizer(config, thresholds)
    unsure = [seen for seen in film if seen.label in thresholds and seen.score < thresholds[seen.label]]
    assert all(stabilizer.update(seen.top, seen.at_s).unknown for seen in unsure)


@given(all_rules(), films())
def test_thresholds_that_repeat_the_common_one_change_nothing(
    config: StabilizerConfig, film: list[Seen]
) -> None:
    common, own = Stabilizer(config), Stabilizer(config, dict.fromkeys((CAT, DOG, FOX), config.threshold))
    for seen in film:
        assert common.update(seen.top, seen.at_s) == own.update(seen.top, seen.at_s)


def test_every_frame_is_published_in_that_mode() -> None:
    gate = PublishGate("every_frame", heartbeat_s=60)
    assert [gate.is_due(now_s, changed=False) for now_s in (0.0, 0.1, 0.2)] == [True, True, True]


def test_on_change_publishes_the_first_frame_and_the_changes() -> None:
    gate = PublishGate("on_change", heartbeat_s=60)
    assert [gate.is_due(now_s, changed=now_s == 2) for now_s in (0.0, 1.0, 2.0, 3.0)] == [
        True,
        False,
        True,
        False,
    ]


def test_the_heartbeat_counts_from_the_last_publication() -> None:
    gate = PublishGate("on_change", heartbeat_s=10)
    due_s = [now_s for now_s in range(31) if gate.is_due(float(now_s), changed=now_s == 5)]
    assert due_s == [0, 5, 15, 25]


@given(st.floats(1, 100), st.lists(st.floats(0, 20), min_size=1, max_size=50))
def test_no_frame_passes_unpublished_after_a_heartbeat(heartbeat_s: float, pauses_s: list[float]) -> None:
    gate = PublishGate("on_change", heartbeat_s)
    now_s, published_s = 0.0, float("-inf")
    for pause_s in pauses_s:
        now_s += pause_s
        if gate.is_due(now_s, changed=False):
            assert now_s - published_s >= heartbeat_s
            published_s = now_s
        assert now_s - published_s < heartbeat_s


@pytest.mark.parametrize("votes", [1, 2, 3])
def test_the_label_needs_as_many_frames_as_votes(votes: int) -> None:
    results = shown(play(Stabilizer(rules(window=3, votes=votes)), "ccc"))
    assert results.index(CAT) == votes - 1
