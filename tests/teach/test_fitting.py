"""Fitting: the head depends on the examples alone, is chosen by trials, and is made in slices."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import TeachError
from edge_agent.teach import regression
from edge_agent.teach.examples import NONE, UNKNOWN, Example, Examples, in_order
from edge_agent.teach.fitting import Fit, OtherExamplesError, finished, fit, fitting, recall
from edge_agent.teach.gram import Gram, Rows, products
from edge_agent.teach.head import Head, softmax
from edge_agent.teach.moments import Moment, moment_of
from edge_agent.teach.trial import (
    NOT_JUDGED,
    Answers,
    Trial,
    centre_weights,
    shares_of,
    truth_of,
)
from edge_agent.teach.unknown import Rules
from tests.teach.worlds import World, backbone

SMALL = World(features=64)
LARGE = World(features=512, apart=0.6)


def everything(head: Head) -> list[bytes]:
    """All that a head knows and answers, to the last bit."""
    taught, layer = head.taught, head.taught.layer
    parts: list[NDArray[np.generic]] = [head.centre, head.directions, head.floors]
    for moment in (*taught.classes.values(), *([taught.frames] if taught.frames else [])):
        parts += [np.array(moment.count), moment.total, np.array([moment.squares], object).astype("S40")]
    if layer:
        parts += [layer.weights, layer.bias]
    for label in "abcxyz":
        answer = head.answer(World(features=len(head.centre)).example(label, 77, 0).feature)
        parts += [answer.probabilities, np.array(answer.likeness), np.array(f"{answer.label} {answer.why}")]
    return [*(part.tobytes() for part in parts), repr((taught.labels, taught.fingerprint)).encode()]


def frames_of(world: World, count: int = 20) -> Moment:
    moments = [moment_of(world.example("a", 900, number).feature) for number in range(count)]
    return sum(moments[1:], moments[0])


def accuracy(head: Head, examples: Iterable[Example]) -> float:
    return float(np.mean([head.answer(each.feature).best == each.label for each in examples]))


SETS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=40,
    unique=True,
)


def made(keys: Iterable[tuple[str, int, int]]) -> list[Example]:
    return [SMALL.example(label, burst, number) for label, burst, number in keys]


class TestTheExamplesAlone:
    @settings(max_examples=30)
    @given(SETS, st.randoms(use_true_random=False), st.booleans())
    def test_their_order_does_not_matter(
        self, keys: list[tuple[str, int, int]], chance: random.Random, has_frames: bool
    ) -> None:
        examples = made(keys)
        frames = frames_of(SMALL) if has_frames else None
        shuffled = chance.sample(examples, len(examples))
        one, other = (fit(each, backbone(64), frames) for each in (examples, shuffled))
        assert everything(one.head) == everything(other.head)
        assert np.array_equal(one.trial.chosen.labels, other.trial.chosen.labels)

    @settings(max_examples=30)
    @given(SETS, SETS)
    def test_one_that_was_removed_might_never_have_been(
        self, kept: list[tuple[str, int, int]], gone: list[tuple[str, int, int]]
    ) -> None:
        examples = Examples()
        taken = [each for each in made([*gone, *kept]) if examples.add(each)[0] == "added"]
        regretted = {each.key for each in made(gone)} - {each.key for each in made(kept)}
        for key in regretted:
            examples.remove(key)
        never = [each for each in taken if each.key not in regretted]
        if never:
            assert everything(fit(examples, backbone(64)).head) == everything(fit(never, backbone(64)).head)

    def test_regression_too_is_the_same_to_the_last_bit(self) -> None:
        world = World(features=64, apart=0.4, seed=5)
        examples = world.examples(range(6), 2)
        one = fit(examples, backbone(64))
        assert one.head.taught.method == "regression", "the case no longer shows what it should"
        assert everything(fit(examples[::-1], backbone(64)).head) == everything(one.head)

    def test_a_head_comes_back_with_the_examples_that_it_was_fitted_to(self) -> None:
        examples = SMALL.examples(range(3), 2)
        head = fit(examples, backbone(64)).head
        assert everything(recall(head.taught, examples[::-1])) == everything(head)
        with pytest.raises(OtherExamplesError, match="have changed since"):
            recall(head.taught, examples[1:])


class TestFromTheFirstExampleOn:
    def test_one_example_knows_its_like_and_not_a_stranger(self) -> None:
        head = fit([SMALL.example("a", 0, 0)], backbone(64)).head
        assert head.answer(SMALL.example("a", 0, 1).feature).label == "a"
        assert head.answer(-SMALL.example("x", 0, 1).feature).label == UNKNOWN

    def test_one_example_of_each_is_enough_to_tell_them_apart(self) -> None:
        head = fit(SMALL.examples([0], 1), backbone(64)).head
        assert head.taught.method == "means"
        assert accuracy(head, SMALL.examples([0], 4)) == 1.0

    def test_twice_the_same_feature_under_two_labels_is_no_trouble(self) -> None:
        one = SMALL.example("a", 0, 0)
        answer = fit([one, replace(one, label="b")], backbone(64)).head.answer(one.feature)
        assert answer.probabilities == pytest.approx([0.5, 0.5])

    @pytest.mark.parametrize("size", [2.0**-24, 2.0**-14, 60000.0])
    def test_features_of_any_size_give_finite_answers(self, size: float) -> None:
        chance = np.random.default_rng(1)
        examples = [
            Example(label, (size * chance.integers(0, 2, 16)).astype(np.float16), 0.0, 0.0, burst)
            for label in "ab"
            for burst in range(6)
        ]
        answer = fit(examples, backbone(16)).head.answer(examples[0].feature)
        assert np.isfinite(answer.probabilities).all()
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)


class TestUnknown:
    def test_what_was_never_shown_is_unknown_and_another_day_is_not(self) -> None:
        world = World(rank=300)
        head = fit(world.examples(range(6), 4), backbone()).head
        again = [head.answer(each.feature) for each in world.examples(range(100, 110), 2)]
        strangers = world.examples(range(100, 104), 2, labels="uvwxyz")
        others = [head.answer(each.feature) for each in strangers]
        assert np.mean([answer.why == "" for answer in again]) > 0.85
        assert np.mean([answer.label == UNKNOWN for answer in others]) > 0.85
        assert {answer.why for answer in others} <= {"never seen", "unsure", ""}

    def test_a_mean_alone_recognises_strangers_too(self) -> None:
        world = World(rank=100)
        head = Head(fit(world.examples(range(6), 4), backbone()).head.taught)
        again = [head.answer(each.feature).why == "" for each in world.examples(range(100, 110), 2)]
        strangers = world.examples(range(100, 104), 2, labels="uvwxyz")
        assert np.mean(again) > 0.85
        assert np.mean([head.answer(each.feature).label == UNKNOWN for each in strangers]) > 0.85

    def test_a_label_for_nothing_of_interest_is_answered_as_unknown(self) -> None:
        head = fit(SMALL.examples(range(3), 2, labels=["a", NONE]), backbone(64)).head
        answer = head.answer(SMALL.example(NONE, 0, 5).feature)
        assert (answer.label, answer.best, answer.why) == (UNKNOWN, NONE, "none")

    def test_the_label_that_is_published_stays_until_another_is_clearly_more_probable(self) -> None:
        head = fit(SMALL.examples(range(4), 2, labels="ab"), backbone(64)).head
        one, other = (SMALL.example(label, 0, 0).feature for label in "ab")
        between = [(share * one + (1 - share) * other).astype(np.float16) for share in np.linspace(0, 1, 201)]
        alone, held = ([head.answer(each, label) for each in between] for label in ("", "a"))
        for free, kept in zip(alone, held, strict=True):
            first, second = kept.probabilities
            assert free.best == ("a" if first >= second else "b")
            assert kept.best == ("a" if second - first < 0.2 else "b")
            assert kept.why in (free.why, "")
        assert [each.best for each in alone] != [each.best for each in held]

    def test_the_label_that_is_published_may_be_a_little_stranger(self) -> None:
        world = World(rank=300)
        head = fit(world.examples(range(6), 4), backbone()).head
        strangers = world.examples(range(100, 130), 2, labels="uvwxyz")
        answers = [(head.answer(each.feature), each.feature) for each in strangers]
        floor = head.floors[0]
        edge = [(free, head.answer(f, free.best)) for free, f in answers if free.why == "never seen"]
        kept = [free.likeness for free, held in edge if held.why == ""]
        assert kept
        assert min(kept) >= floor - 0.1
        assert all(
            held.why == "" for free, held in edge if free.likeness > floor - 0.09 and held.why != "unsure"
        )
        assert all(head.answer(f, "another").why == free.why for free, f in answers)

    def test_below_the_least_probability_nothing_is_claimed(self) -> None:
        examples = SMALL.examples(range(3), 2)
        strict = fit(examples, backbone(64), rules=Rules(probability=1.01)).head
        assert strict.answer(examples[0].feature).why == "unsure"

    @pytest.mark.parametrize("feature", [np.ones(63, np.float16), np.full(64, np.inf, np.float16)])
    def test_what_is_no_feature_is_refused(self, feature: NDArray[np.float16]) -> None:
        head = fit(SMALL.examples([0], 1), backbone(64)).head
        with pytest.raises(TeachError, match="64 finite numbers"):
            head.answer(feature)


class TestTrials:
    def test_means_in_a_trial_are_those_of_a_head_taught_without_the_burst(self) -> None:
        world = World(features=64, apart=0.3)
        examples = world.examples(range(4), 2)
        tried = fit(examples, backbone(64)).trial
        ordered = sorted(examples, key=lambda each: (each.label, each.burst, each.feature.tobytes()))
        for place, example in enumerate(ordered):
            rest = [each for each in examples if each.burst != example.burst]
            answer = fit(rest, backbone(64)).head
            means = Head(replace(answer.taught, layer=None)).answer(example.feature)
            assert means.best == world.labels[tried.means.labels[place]]
            assert means.probabilities.max() == pytest.approx(tried.means.probabilities[place], abs=1e-4)

    def test_what_was_right_more_often_is_chosen_and_both_where_that_may_be_chance(self) -> None:
        truth = np.zeros(20, np.intp)

        def answers(wrong: Sequence[int]) -> Answers:
            labels = truth.copy()
            labels[list(wrong)] = 1
            return Answers(labels, np.ones(20, np.float32))

        def better(means: Answers, regression: Answers | None, times: int = 5) -> str:
            return Trial(truth, means, regression, regression, times).better

        assert better(answers([]), None) == "means"
        assert better(answers([0]), answers(range(1, 8))) == "means"
        assert better(answers(range(1, 8)), answers([0])) == "regression"
        assert better(answers([0, 1]), answers([2, 3, 4])) == "both"
        assert better(answers([]), answers([])) == "both"
        assert better(answers([0]), answers(range(1, 8)), times=3) == "regression"
        nothing = Answers(np.full(20, NOT_JUDGED, np.intp), np.zeros(20, np.float32))
        assert better(nothing, nothing) == "means"

    def test_where_the_trial_cannot_tell_the_head_adds_up_what_both_say(self) -> None:
        world = World(features=64, labels="abc", apart=3.0)
        examples = world.examples(range(4), 2)
        made = fit(examples, backbone(64))
        assert made.trial.better == "both"
        ordered = in_order(examples)
        means = Head(replace(made.head.taught, layer=None))
        truth = truth_of(ordered)
        shares = shares_of(truth, np.ones(len(truth), bool), len(truth), len(made.head.labels))
        rows = Rows([each.feature for each in ordered], None, np.zeros(64, np.float32))
        gram = Gram(finished(products(rows)), centre_weights(shares, has_frames=False))
        regressed = regression.logits(
            gram, finished(regression.coefficients(gram, shares)), np.zeros(3, bool)
        )
        for place, example in enumerate(ordered):
            by_means = np.log(means.answer(example.feature).probabilities)
            expected = softmax(by_means + regressed[place])
            assert made.head.answer(example.feature).probabilities == pytest.approx(expected, abs=2e-3)

    def test_what_has_one_burst_alone_is_not_judged(self) -> None:
        examples = [*SMALL.examples(range(0, 6, 2), 1, labels="ab"), SMALL.example("c", 8, 0)]
        tried = fit(examples, backbone(64)).trial
        assert (tried.means.labels[:6] != NOT_JUDGED).all()
        assert tried.means.labels[6] == NOT_JUDGED

    def test_the_only_night_of_a_label_is_not_judged_by_its_days(self) -> None:
        examples = SMALL.examples(range(3), 2, labels="ab")  # the second burst is at night
        tried = fit(examples, backbone(64)).trial
        ordered = in_order(examples)
        assert [each != NOT_JUDGED for each in tried.means.labels] == [not each.is_night for each in ordered]

    def test_a_trial_is_not_misled_by_nights_that_one_label_lacks_in_it(self) -> None:
        """Night changes a picture more than the labels differ, and no two labels are shown at one time."""
        said, so = [], []
        for seed in range(8):
            world = World(features=64, labels="ab", apart=0.6, night=5.0, seed=seed)
            made = fit(_each_burst_its_own(world, range(6)), backbone(64))
            said.append(made.trial.means.correct(made.trial.truth) / len(made.trial.truth))
            means = Head(replace(made.head.taught, layer=None))
            so.append(accuracy(means, world.examples(range(100, 120), 1)))
        print(f"said {np.mean(said):.3f}, so {np.mean(so):.3f}")
        assert abs(np.mean(said) - np.mean(so)) < 0.1

    def test_regression_needs_three_of_every_label(self) -> None:
        examples = SMALL.examples(range(3), 1)
        assert fit(examples, backbone(64)).trial.regression is not None
        assert fit(examples[1:], backbone(64)).trial.regression is None


def _each_burst_its_own(world: World, bursts: Sequence[int]) -> list[Example]:
    """Two examples in each burst; no two labels are shown at one time."""
    return [
        replace(each, burst=1000 * place + each.burst)
        for place, label in enumerate(world.labels)
        for each in world.examples(bursts, 2, labels=label)
    ]


def worlds() -> list[World]:
    return [
        World(features=128, seed=seed, apart=apart, night=night, labels=labels)
        for seed in range(2)
        for apart, night in ((1.0, 0.7), (0.5, 0.7), (0.5, 1.5))
        for labels in ("abcde", "abcdefghij")
    ]


def test_the_chosen_method_is_never_worse_than_the_better_one_by_more_than_noise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [_compared(world) for world in worlds()]
    with capsys.disabled():
        print("\ncentred means, regression, chosen:", np.mean(rows, axis=0).round(3))
    for means, regressed, chosen in rows:
        assert chosen >= max(means, regressed) - 0.08  # 3 standard errors of 200 trials and more
    average = np.mean(rows, axis=0)
    assert average[2] >= average[:2].max() - 0.01


def _compared(world: World) -> tuple[float, float, float]:
    made = fit(world.examples(range(6), 3), backbone(128))
    test = world.examples(range(100, 120), 2)
    return (
        accuracy(Head(replace(made.head.taught, layer=None)), test),
        accuracy(_regressed(made, world), test),
        accuracy(made.head, test),
    )


def _regressed(made: Fit, world: World) -> Head:
    """The head that regression alone gives."""
    if made.head.taught.layer:
        return made.head
    forced = pytest.MonkeyPatch()
    with forced.context() as patch:
        patch.setattr("edge_agent.teach.trial.Trial.better", "regression")
        return fit(world.examples(range(6), 3), backbone(128)).head


class TestSlices:
    def test_no_step_takes_long_beside_the_whole(self) -> None:
        examples = World(labels="abcdefghij").examples(range(10), 5)
        slices = fitting(examples, backbone())
        times: list[float] = [time.perf_counter()]
        for _ in slices:
            times.append(time.perf_counter())
        steps = [later - earlier for earlier, later in pairwise(times)]
        print(f"{len(steps)} steps, the longest {1e3 * max(steps):.1f} ms of {sum(steps):.2f} s")
        assert len(steps) > 500
        assert max(steps) < 0.1 + 0.2 * sum(steps)

    def test_it_can_be_given_up_between_two_steps(self) -> None:
        slices = fitting(SMALL.examples(range(3), 2), backbone(64))
        next(slices)
        slices.close()


@pytest.mark.parametrize(
    ("examples", "said"),
    [([], "no examples"), (SMALL.examples([0], 1), "512 features")],
)
def test_what_cannot_be_fitted_is_named(examples: Sequence[Example], said: str) -> None:
    with pytest.raises(TeachError, match=said):
        fit(examples, backbone())
