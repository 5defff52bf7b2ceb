"""Questions to the owner: which frames, how often, and how many wait."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.teach.ask import Asking, AskRules, Reason
from edge_agent.teach.head import Answer, Why

FEATURE = np.ones(4, np.float16)


def answer(label: str = "open", first: float = 0.9, why: Why = "") -> Answer:
    rest = 1 - first
    return Answer("unknown" if why else label, label, np.array([first, rest, 0], np.float32), 0.8, why)


def ask(asking: Asking, said: Answer, now_s: float) -> Reason | None:
    """As the pipeline does: keep the frame where there is a reason."""
    reason = asking.reason_for(said, now_s)
    if reason:
        asking.put(reason, said, FEATURE, now_s, time_s=1e9 + now_s, brightness=90.0, thumbnail=b"jpeg")
    return reason


def test_a_sure_answer_is_no_question() -> None:
    asking = Asking()
    assert [ask(asking, answer(), float(now)) for now in range(1000)] == [None] * 1000
    assert asking.waiting == ()


def test_what_was_never_seen_or_is_unsure_is_asked_about() -> None:
    assert ask(Asking(), answer(why="never seen"), 0.0) == "unknown"
    assert ask(Asking(), answer(first=0.4, why="unsure"), 0.0) == "unsure"
    assert ask(Asking(), answer(first=0.55), 0.0) == "unsure"
    assert ask(Asking(), answer(why="none"), 0.0) is None


def test_going_back_and_forth_is_asked_about_and_passing_through_is_not() -> None:
    asking = Asking()
    assert [ask(asking, answer(label), now) for now, label in enumerate("ababa")][-2:] == ["flipping", None]
    assert [ask(Asking(), answer(label), now) for now, label in enumerate("aabbccdd")] == [None] * 8


def test_one_label_alone_is_always_sure() -> None:
    alone = Answer("open", "open", np.ones(1, np.float32), 0.9, "")
    assert Asking().reason_for(alone, 0.0) is None


def test_at_most_one_question_in_five_minutes() -> None:
    asking = Asking()
    times = [now for now in range(0, 1200, 10) if ask(asking, answer(why="never seen"), now)]
    assert times == [0, 300, 600, 900]
    assert [each.number for each in asking.waiting] == [1, 2, 3, 4]
    assert asking.waiting[1].time_s == 1e9 + 300


def test_a_reason_that_is_not_followed_up_costs_no_question() -> None:
    asking = Asking()
    assert asking.reason_for(answer(why="never seen"), 0.0) == "unknown"
    assert asking.reason_for(answer(why="never seen"), 1.0) == "unknown"
    assert asking.asked == 0


def test_an_answered_question_no_longer_waits() -> None:
    asking = Asking()
    ask(asking, answer(why="never seen"), 0.0)
    question = asking.take(1)
    assert question is not None
    assert (question.reason, question.best, question.thumbnail) == ("unknown", "open", b"jpeg")
    assert asking.take(1) is None
    assert asking.waiting == ()


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=60), st.integers(1, 5))
def test_however_many_are_asked_few_wait_and_the_newest_do(
    frames: list[tuple[float, bool]], most: int
) -> None:
    asking = Asking(AskRules(most=most))
    now_s, last_s = 0.0, -1e9
    for step_s, is_strange in frames:
        now_s += step_s
        if ask(asking, answer(why="never seen" if is_strange else ""), now_s):
            assert now_s - last_s >= 300
            last_s = now_s
        assert len(asking.waiting) <= most
    assert asking.asked == asking.dropped + len(asking.waiting)
    if asking.waiting:
        assert asking.waiting[-1].number == asking.asked
