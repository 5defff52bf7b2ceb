"""Lessons: examples and head stay together, whatever is taught, undone, killed, damaged or exchanged."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import TeachError
from edge_agent.teach import head_file
from edge_agent.teach.examples import Example, Feature, Limits, grouped
from edge_agent.teach.fitting import finished, fit
from edge_agent.teach.head import Head
from edge_agent.teach.lessons import (
    ENOUGH_OF_PERIOD,
    Calendar,
    Lesson,
    Lessons,
    PeriodHeads,
    Relearnt,
    Shot,
    directory_of,
)
from edge_agent.teach.merge import merge
from edge_agent.teach.store import MOST_UNDOS, STORE_NAME
from tests.teach.test_fitting import everything
from tests.teach.worlds import World, backbone

WORLD = World(features=64)
NETWORK = backbone(64)
OTHER = replace(NETWORK, sha256="cd" * 32)

Keys = Sequence[tuple[str, int, int]]


def lessons(directory: Path, limits: Limits | None = None) -> Lessons:
    return Lessons(directory, NETWORK, limits=limits)


def shot(label: str, burst: int, number: int, thumbnail: bytes = b"") -> Shot:
    example = WORLD.example(label, burst, number)
    return Shot(example.feature, example.time_s, example.brightness, thumbnail)


def taught(directory: Path, keys: Keys, thumbnail: bytes = b"") -> Lessons:
    opened = lessons(directory)
    for label, group in itertools.groupby(keys, key=lambda key: key[0]):
        opened.add(label, [shot(*key, thumbnail=thumbnail) for key in group])
    return opened


def keys_of(opened: Lessons) -> list[str]:
    return [each.key for each in opened.examples()]


def fitted(examples: Iterable[Example]) -> list[bytes]:
    return everything(fit(grouped(examples), NETWORK).head)


def current(opened: Lessons) -> Head:
    loaded = opened.head()
    assert loaded.is_current
    assert loaded.head is not None
    return loaded.head


@contextmanager
def folder() -> Iterator[Path]:
    """Hypothesis runs a test many times within one `tmp_path`."""
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


SETS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=20,
    unique=True,
)
DAY = [(label, burst, number) for label in "ab" for burst in range(3) for number in range(2)]


class TestTeaching:
    def test_one_lesson_is_enough_for_a_head(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path / "teach" / "frame")
        assert opened.head().head is None
        assert opened.head().is_current
        lesson = opened.add("a", [shot("a", 0, 0)])
        assert [each.label for each in lesson.added] == ["a"]
        assert not opened.head().is_current
        learnt = opened.fit()
        assert learnt is not None
        assert current(opened).answer(WORLD.example("a", 0, 1).feature).label == "a"
        assert everything(current(opened)) == everything(learnt.head)

    @pytest.mark.parametrize("steps", [1, 3, 5, 20, 400])
    def test_what_another_process_takes_back_during_a_fit_is_not_learnt(
        self, tmp_path: Path, steps: int
    ) -> None:
        opened = taught(tmp_path, DAY)
        alone = opened.fit()
        other = lessons(tmp_path)
        other.add("c", [shot("c", burst, number) for burst in range(3) for number in range(2)])
        slices = opened.fitting()
        for _ in itertools.islice(slices, steps):
            pass
        assert other.undo() is not None
        learnt = finished(slices)
        assert learnt is not None
        assert alone is not None
        assert everything(learnt.head) == everything(alone.head)

    def test_nothing_is_made_before_the_first_lesson(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path / "teach" / "frame")
        assert opened.fit() is None
        assert opened.undo() is None
        with pytest.raises(TeachError, match="no example shows 'a'; taught so far: nothing"):
            opened.remove(label="a")

    def test_the_head_is_the_same_whenever_it_is_read(self, tmp_path: Path) -> None:
        taught(tmp_path, DAY).fit()
        assert everything(current(lessons(tmp_path))) == fitted(lessons(tmp_path).examples())

    def test_near_duplicates_are_left_out_and_counted(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path)
        again = opened.add("a", [shot("a", 0, 0), shot("a", 0, 0), shot("a", 1, 0)])
        assert (len(again.added), again.duplicates) == (2, 1)
        lesson = opened.add("a", [shot("a", 0, 0)])
        assert (lesson.has_changed, lesson.duplicates) == (False, 1)

    def test_a_full_label_replaces_and_says_what(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path, Limits(per_label=3))
        opened.add("a", [shot("a", burst, 0) for burst in range(3)])
        lesson = opened.add("a", [shot("a", 7, number) for number in range(2)])
        assert len(opened.examples()) == 3
        assert len(lesson.added) == len(lesson.gone) > 0

    def test_without_room_nothing_of_a_lesson_is_kept(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path, Limits(in_all=3))
        opened.add("a", [shot("a", 0, 0)])
        with pytest.raises(TeachError, match="room for no more"):
            opened.add("b", [shot("b", burst, 0) for burst in range(3)])
        assert len(opened.examples()) == 1

    def test_the_same_frame_under_another_label_is_a_correction(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        lesson = opened.add("b", [shot("a", 0, 0)])
        assert [each.label for each in lesson.gone] == ["a"]
        assert WORLD.example("a", 0, 0).key not in keys_of(opened)
        opened.undo()
        assert WORLD.example("a", 0, 0).key in keys_of(opened)

    def test_an_example_is_removed_by_the_beginning_of_its_key(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        key = opened.examples()[4].key
        opened.remove(key=key[:10])
        assert key not in keys_of(opened)
        for wrong, said in ((key, "no example has"), ("", "no example has"), ("g", "no example has")):
            with pytest.raises(TeachError, match=said):
                opened.remove(key=wrong)
        with pytest.raises(TeachError, match="'z'; taught so far: `a`, `b`"):
            opened.remove(label="z")

    def test_without_examples_there_is_no_head(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY[:1])
        opened.fit()
        opened.remove(label="a")
        assert opened.fit() is None
        assert not opened.head_path.exists()
        assert opened.head().is_current
        assert opened.head().head is None

    def test_when_pictures_were_taken_says_which_belong_together(self, tmp_path: Path) -> None:
        opened = lessons(tmp_path)
        at = [
            replace(shot("a", 0, number), time_s=time_s) for number, time_s in enumerate([500, 0, 530, 9e4])
        ]
        opened.add("a", at)
        assert [each.burst for each in opened.examples()] == [1, 0, 1, 2]

    def test_the_report_is_that_of_the_examples(self, tmp_path: Path) -> None:
        learnt = taught(tmp_path, DAY).fit(keep=False)
        assert learnt is not None
        assert learnt.report.examples == len(DAY)
        assert learnt.report.accuracy == 1.0
        assert not lessons(tmp_path).head_path.exists()

    @pytest.mark.parametrize("region", ["frame", "Gate", "../gate", "a" * 33, "a/b", "\x1b"])
    def test_a_region_cannot_lead_elsewhere(self, region: str) -> None:
        with pytest.raises(TeachError, match="cannot be the name of a region"):
            directory_of(Path("/state"), region)

    def test_each_view_has_its_own_directory(self) -> None:
        assert directory_of(Path("/state")) == Path("/state/teach/frame")
        assert directory_of(Path("/state"), "gate") == Path("/state/teach/gate")


class TestTheExamplesAlone:
    @settings(max_examples=8)
    @given(SETS, st.randoms(use_true_random=False))
    def test_the_order_of_lessons_does_not_matter(self, keys: Keys, chance: random.Random) -> None:
        with folder() as path:
            one, other = path / "one", path / "other"
            taught(one, keys).fit()
            taught(other, chance.sample(keys, len(keys))).fit()
            assert everything(current(lessons(one))) == everything(current(lessons(other)))

    @settings(max_examples=8)
    @given(SETS, SETS)
    def test_a_lesson_that_is_undone_might_never_have_been(self, kept: Keys, regretted: Keys) -> None:
        with folder() as path:
            opened = taught(path, kept)
            opened.fit()
            before = keys_of(opened), everything(current(opened))
            opened.add("new", [shot(*key) for key in regretted])
            opened.fit()
            assert opened.undo() is not None
            opened.fit()
            assert (keys_of(opened), everything(current(opened))) == before

    @settings(max_examples=15)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.sampled_from("ab"), st.lists(st.integers(0, 5), max_size=5)),
                st.tuples(st.just("remove"), st.sampled_from("ab"), st.just([])),
                st.tuples(st.just("undo"), st.just(""), st.just([])),
            ),
            max_size=25,
        )
    )
    def test_undoing_leads_back_through_every_lesson(self, moves: list[tuple[str, str, list[int]]]) -> None:
        with folder() as path:
            history: list[list[str]] = [[]]
            opened = lessons(path, Limits(per_label=3))
            for move, label, numbers in moves:
                if move == "undo":
                    assert (opened.undo() is not None) == (len(history) > 1)
                    history = history[:-1] or history
                elif move == "add":
                    opened.add(label, [shot(label, number, 0) for number in numbers])
                    history.append(keys_of(opened))
                elif label in {each.label for each in opened.examples()}:
                    opened.remove(label=label)
                    history.append(keys_of(opened))
                # A lesson that changes nothing is none, and the oldest cannot be undone for ever.
                if len(history) > 1 and history[-1] == history[-2]:
                    history.pop()
                history = history[-MOST_UNDOS - 1 :]
                assert keys_of(opened) == history[-1]

    def test_undoing_survives_the_process(self, tmp_path: Path) -> None:
        taught(tmp_path, DAY)
        lessons(tmp_path).remove(label="a")
        undone = lessons(tmp_path).undo()
        assert undone is not None
        assert {each.label for each in undone.added} == {"a"}
        assert len(keys_of(lessons(tmp_path))) == len(DAY)


class TestReverting:
    def test_the_head_before_comes_back_and_stays_until_the_next_lesson(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        opened.fit()
        opened.add("bad", [shot("a", 5, 0)])
        opened.fit()
        assert opened.revert().is_current
        assert current(lessons(tmp_path)).labels == ("a", "b")
        assert len(opened.examples()) == len(DAY) + 1
        opened.add("c", [shot("c", 0, 0)])
        assert not opened.head().is_current
        opened.fit()
        assert current(opened).labels == ("a", "b", "bad", "c")

    def test_after_undoing_too_the_head_is_that_of_the_examples(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        opened.fit()
        opened.add("bad", [shot("a", 5, 0)])
        opened.fit()
        opened.revert()
        opened.undo()
        assert everything(current(opened)) == fitted(opened.examples())

    def test_what_was_removed_altogether_answers_again(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY[:2])
        opened.fit()
        opened.remove(label="a")
        opened.fit()
        opened.revert()
        assert current(opened).labels == ("a",)

    def test_the_head_of_another_model_does_not_come_back(self, tmp_path: Path) -> None:
        taught(tmp_path, DAY).fit()
        changed = Lessons(tmp_path, OTHER)
        changed.add("z", [shot("z", 0, 0)])
        changed.fit()
        with pytest.raises(TeachError, match="taught on another model"):
            changed.revert()
        assert current(changed).labels == ("z",)

    def test_without_a_predecessor_it_is_refused(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        opened.fit()
        with pytest.raises(TeachError, match="there is no head before this one"):
            opened.revert()


class TestOthersTeachMeanwhile:
    def test_what_was_taught_during_a_fit_is_in_the_head(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        slices = opened.fitting()
        next(slices)
        lessons(tmp_path).add("c", [shot("c", 0, 0)])
        for _ in slices:
            pass
        assert current(opened).labels == ("a", "b", "c")

    def test_a_joined_head_stays_until_the_next_lesson(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        opened.fit()
        other = fit(WORLD.examples(range(3), 2, labels="c"), NETWORK).head.taught
        head_file.save(opened.head_path, merge([head_file.load(opened.head_path), other]))
        assert current(opened).labels == ("a", "b", "c")

    def test_unnamed_frames_are_not_forgotten_by_who_does_not_know_them(self, tmp_path: Path) -> None:
        frames = fit(WORLD.examples([0], 2), NETWORK).head.taught.classes["a"]
        taught(tmp_path, DAY).fit(frames)
        opened = lessons(tmp_path)
        opened.add("c", [shot("c", 0, 0)])
        opened.fit()
        found = current(opened).taught.frames
        assert found is not None
        assert np.array_equal(found.total, frames.total)


def features_of(jpeg: bytes) -> Feature:
    if jpeg == b"damaged":
        raise TeachError("a picture that cannot be read")
    label, burst, number = jpeg.decode().split()
    return -WORLD.example(label, int(burst), int(number)).feature


def with_pictures(directory: Path, keys: Keys) -> Lessons:
    opened = lessons(directory)
    for label, burst, number in keys:
        opened.add(label, [shot(label, burst, number, f"{label} {burst} {number}".encode())])
    opened.fit()
    return opened


def relearnt(opened: Lessons, of: Callable[[bytes], Feature] = features_of) -> Relearnt:
    slices = opened.relearning(of)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            found = end.value
            assert isinstance(found, Relearnt)
            return found


class TestAnotherNetwork:
    def test_it_is_said_and_relearned_from_the_pictures(self, tmp_path: Path) -> None:
        with_pictures(tmp_path, DAY)
        changed = Lessons(tmp_path, OTHER)
        loaded = changed.head()
        assert loaded.head is None
        assert "it was taught on another model" in loaded.problem
        assert loaded.foreign == len(DAY)
        assert relearnt(changed) == Relearnt(len(DAY), 0)
        changed.fit()
        assert current(changed).answer(-WORLD.example("a", 1, 1).feature).label == "a"
        assert changed.head().foreign == 0
        assert relearnt(changed) == Relearnt(0, 0)

    def test_going_back_finds_the_examples_as_they_were(self, tmp_path: Path) -> None:
        opened = with_pictures(tmp_path, DAY)
        relearnt(Lessons(tmp_path, OTHER))
        assert fitted(opened.examples()) == fitted(WORLD.example(*key) for key in DAY)

    def test_what_has_no_picture_that_can_be_read_is_counted_and_kept(self, tmp_path: Path) -> None:
        opened = with_pictures(tmp_path, DAY[:2])
        opened.add("b", [shot("b", 0, 0), shot("b", 1, 0, b"damaged")])
        changed = Lessons(tmp_path, OTHER)
        assert relearnt(changed) == Relearnt(2, 2)
        assert changed.head().foreign == 2
        assert len(lessons(tmp_path).examples()) == 4

    def test_what_is_removed_does_not_come_back_with_the_other_network(self, tmp_path: Path) -> None:
        with_pictures(tmp_path, DAY)
        changed = Lessons(tmp_path, OTHER)
        relearnt(changed)
        changed.remove(label="a")
        assert relearnt(changed) == Relearnt(0, 0)
        assert {each.label for each in lessons(tmp_path).examples()} == {"b"}
        changed.undo()
        assert len(changed.examples()) == len(lessons(tmp_path).examples()) == len(DAY)

    def test_a_lesson_is_undone_in_both_networks(self, tmp_path: Path) -> None:
        with_pictures(tmp_path, DAY)
        changed = Lessons(tmp_path, OTHER)
        relearnt(changed)
        changed.undo()
        assert len(changed.examples()) == len(lessons(tmp_path).examples()) == len(DAY) - 1

    def test_what_cannot_be_relearned_can_be_removed(self, tmp_path: Path) -> None:
        taught(tmp_path, DAY)
        Lessons(tmp_path, OTHER).remove(label="a")
        assert {each.label for each in lessons(tmp_path).examples()} == {"b"}

    def test_there_is_no_more_room_than_the_limits_give(self, tmp_path: Path) -> None:
        with_pictures(tmp_path, DAY)
        changed = Lessons(tmp_path, OTHER, limits=Limits(per_label=4))
        assert relearnt(changed) == Relearnt(8, 4)


class TestDamage:
    def test_a_damaged_head_is_said_set_aside_and_learnt_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened = taught(tmp_path, DAY)
        opened.fit()
        opened.head_path.write_bytes(b"damaged")
        loaded = opened.head()
        assert (loaded.head, loaded.is_current) == (None, False)
        assert loaded.problem == f"{opened.head_path}: cannot be used: it is no head"
        opened.fit()
        assert everything(current(opened)) == fitted(opened.examples())
        assert opened.head_path.with_name("head.damaged").read_bytes() == b"damaged"
        assert "head was damaged (it is no head): it is kept as head.damaged" in caplog.text

    def test_a_damaged_store_is_set_aside_and_what_is_whole_is_taught(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY, thumbnail=bytes(9000))
        opened.fit()
        store = tmp_path / STORE_NAME
        store.write_bytes(
            store.read_bytes().replace(WORLD.example(*DAY[3]).feature.tobytes()[:64], bytes(64))
        )
        opened = lessons(tmp_path)
        assert not opened.head().is_current
        assert f"{store} was damaged" in opened.damage
        assert (tmp_path / f"{STORE_NAME}.damaged").exists()
        assert len(opened.examples()) == len(DAY) - 1
        opened.fit()
        assert everything(current(opened)) == fitted(opened.examples())
        assert opened.undo() is None

    def test_a_directory_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        opened = taught(tmp_path, DAY)
        opened.head_path.mkdir()
        with pytest.raises(TeachError, match=f"{tmp_path}/head: cannot be written: Is a directory"):
            opened.fit()


class _KilledError(BaseException):
    """Nothing that runs may catch it."""


def killed_before_rename(work: Callable[[], object], number: int) -> bool:
    """Work until the rename or removal of a file with that number, and end there as a killed process does.

    Returns whether there were so many.
    """
    left = iter([*[False] * number, True])
    with pytest.MonkeyPatch().context() as patch:
        for name in ("replace", "unlink"):
            real = getattr(Path, name)

            def step(
                path: Path, *arguments: object, real: Callable[..., object] = real, **more: object
            ) -> object:
                if next(left, False):
                    raise _KilledError
                return real(path, *arguments, **more)

            patch.setattr(Path, name, step)
        try:
            work()
        except _KilledError:
            return True
    return False


class TestKilledBetweenTwoWrites:
    def deaths(self, tmp_path: Path, work: Callable[[Lessons], object]) -> Iterator[Lessons]:
        """What is found by the next process after every death within `work`."""
        taught(tmp_path / "whole", DAY).fit()
        lessons(tmp_path / "whole").add("b", [shot("b", 8, 0)])
        lessons(tmp_path / "whole").fit()
        for number in itertools.count():
            directory = tmp_path / f"death{number}"
            shutil.copytree(tmp_path / "whole", directory)
            dying = lessons(directory)
            if not killed_before_rename(lambda dying=dying: work(dying), number):  # type: ignore[misc]
                assert number > 1, "there was nothing to interrupt"
                return
            yield lessons(directory)

    def test_a_lesson_is_learnt_after_all(self, tmp_path: Path) -> None:
        def lesson(opened: Lessons) -> None:
            opened.add("c", [shot("c", 0, 0)])
            opened.fit()

        for found in self.deaths(tmp_path, lesson):
            if not found.head().is_current:
                found.fit()
            assert everything(current(found)) == fitted(found.examples())
            assert current(found).labels == ("a", "b", "c")

    def test_a_removal_is_carried_out_after_all(self, tmp_path: Path) -> None:
        def forget(opened: Lessons) -> None:
            for label in "ab":
                opened.remove(label=label)
            opened.fit()

        for found in self.deaths(tmp_path, forget):
            assert not found.head().is_current
            assert found.fit() is None
            assert not found.head_path.exists()

    def test_one_of_two_heads_is_there_after_a_revert(self, tmp_path: Path) -> None:
        counts = set()
        for found in self.deaths(tmp_path, Lessons.revert):
            counts.add(current(found).taught.classes["b"].count)
        assert counts <= {6, 7}


_TEACHER = """
import sys
from pathlib import Path
from tests.teach.test_lessons import lessons, shot

opened = lessons(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 400):
    opened.add("abc"[number % 3], [shot("abc"[number % 3], number, 0, bytes(9000))])
    opened.fit()
    print(number, flush=True)
"""


class TestKilled:
    """A real process is killed at any moment while it teaches."""

    def run(self, tmp_path: Path, deaths: int) -> None:
        chance = random.Random(deaths)
        start = mended = 0
        for _ in range(deaths):
            confirmed = self.killed(tmp_path, start, chance.uniform(0.0, 0.2))
            found = lessons(tmp_path)
            taught = len(found.examples())
            assert taught in (confirmed + 1, confirmed + 2)
            if not found.head().is_current:
                mended += 1
                found.fit()
            assert everything(current(found)) == fitted(found.examples())
            assert found.damage == ""
            start = taught
        print(f"{mended} of {deaths} deaths left a head that was mended")

    def killed(self, directory: Path, start: int, after_s: float) -> int:
        """Start a teacher, kill it, and return the last lesson that it has confirmed."""
        command = [sys.executable, "-c", _TEACHER, str(directory), str(start)]
        teacher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert teacher.stdout is not None
        said = [teacher.stdout.readline()]
        with contextlib.suppress(subprocess.TimeoutExpired):
            teacher.wait(after_s)
        teacher.kill()
        said += teacher.stdout.readlines()
        teacher.stdout.close()
        teacher.wait()
        return max((int(line) for line in said if line.endswith("\n")), default=start - 1)

    def test_what_was_confirmed_is_known(self, tmp_path: Path) -> None:
        self.run(tmp_path, deaths=2)

    @pytest.mark.fault
    def test_what_was_confirmed_is_known_after_many_deaths(self, tmp_path: Path) -> None:
        self.run(tmp_path, deaths=40)


def test_a_lesson_says_what_it_has_changed() -> None:
    assert not Lesson(duplicates=3).has_changed
    assert Lesson(gone=(WORLD.example("a", 0, 0),)).has_changed


SAME = [("a", 0, 0), ("a", 1, 0), ("b", 0, 0), ("b", 1, 0)]


def test_a_head_made_elsewhere_answers_until_the_next_lesson(tmp_path: Path) -> None:
    elsewhere = taught(tmp_path / "elsewhere", SAME)
    elsewhere.fit()
    here = taught(tmp_path / "here", [("c", 0, 0), ("d", 0, 0)])
    here.fit()
    content = elsewhere.head_path.read_bytes()
    loaded = here.take(content)
    assert loaded.head is not None
    assert (loaded.head.taught.labels, loaded.is_current) == (("a", "b"), True)
    assert current(lessons(here.directory)).taught.labels == ("a", "b")
    here.add("c", [shot("c", 2, 0)])
    here.fit()
    assert current(here).taught.labels == ("c", "d")


def test_no_head_made_elsewhere_is_taken_that_is_damaged_or_of_another_network(tmp_path: Path) -> None:
    elsewhere = taught(tmp_path / "elsewhere", SAME)
    elsewhere.fit()
    content = elsewhere.head_path.read_bytes()
    here = lessons(tmp_path / "here")
    for bad in (content[:-1], b"x", content[:40] + b"?" + content[41:]):
        with pytest.raises(TeachError, match="the head cannot be used"):
            here.take(bad)
    with pytest.raises(TeachError, match="the head cannot be used"):
        Lessons(tmp_path / "other", OTHER).take(content)
    assert here.head().head is None


def test_no_head_at_all_can_be_wanted(tmp_path: Path) -> None:
    elsewhere = taught(tmp_path / "elsewhere", SAME)
    elsewhere.fit()
    here = lessons(tmp_path / "here")
    here.take(elsewhere.head_path.read_bytes())
    assert here.take(b"").head is None


def shot_in(label: str, burst: int, number: int, *, dark: bool) -> Shot:
    example = WORLD.example(label, burst, number, dark=dark)
    return Shot(example.feature, example.time_s, example.brightness)


BY_LIGHT = Calendar(("night",), lambda example: "night" if example.brightness < 40 else "")


def of_periods(opened: Lessons) -> PeriodHeads:
    return finished(opened.fitting_periods(BY_LIGHT))


def test_a_period_has_a_head_once_each_label_has_enough_examples_of_it(tmp_path: Path) -> None:
    opened = lessons(tmp_path)
    for label in "ab":
        opened.add(label, [shot_in(label, burst, 0, dark=burst % 2 == 0) for burst in range(6)])
    found = of_periods(opened)
    heads = found.heads
    assert (set(heads), found.missing) == ({"night"}, ())
    mine = [each for each in opened.examples() if each.brightness < 40]
    assert len(mine) == 2 * ENOUGH_OF_PERIOD
    assert everything(heads["night"]) == everything(fit(mine, NETWORK).head)
    opened.add("c", [shot_in("c", burst, 0, dark=False) for burst in range(6)])
    found = of_periods(opened)
    assert found.heads == {}  # `c` would be unknown all night
    assert found.missing == (
        "period night has no head of its own: it needs 3 examples of each label, and has 0 of c",
    )
    opened.remove(label="c")
    opened.remove(key=mine[0].key)
    assert "and has 2 of a" in of_periods(opened).missing[0]


def test_a_period_needs_no_example_of_what_is_of_no_interest(tmp_path: Path) -> None:
    opened = lessons(tmp_path)
    for label in "ab":
        opened.add(label, [shot_in(label, burst, 0, dark=True) for burst in range(3)])
    opened.add("none", [shot_in("none", 0, 0, dark=False)])
    assert set(of_periods(opened).heads) == {"night"}


def test_a_period_names_a_few_of_many_labels_that_it_lacks(tmp_path: Path) -> None:
    opened = lessons(tmp_path)
    for label in "abcdefg":
        opened.add(label, [shot_in(label, 0, 0, dark=False)])
    assert of_periods(opened).missing[0].endswith("0 of a, 0 of b, 0 of c, 0 of d, 0 of e and 2 labels more")


def test_without_examples_no_period_has_a_head(tmp_path: Path) -> None:
    found = of_periods(lessons(tmp_path))
    assert (found.heads, found.missing) == ({}, ())
