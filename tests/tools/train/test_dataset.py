"""Sets of pictures: read, split between bursts, and checked."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli import main
from edge_agent.errors import ModelError
from edge_agent.tools.train.bursts import bursts_of, split
from edge_agent.tools.train.check import check
from edge_agent.tools.train.dataset import Item, read_dataset, time_in
from edge_agent.tools.train.likeness import distances, fingerprint
from tests.tools.train.scenes import render, scene


def test_a_folder_for_each_label_is_a_set(tmp_path: Path) -> None:
    items = read_dataset(render(tmp_path / "set", days=1, shots=2))
    assert [item.name for item in items[:2]] == [
        "closed/20260101T120600Z.png",
        "closed/20260101T120605Z.png",
    ]
    assert {item.label for item in items} == {"closed", "open"}
    assert items[1].time_s is not None
    assert items[0].time_s is not None
    assert items[1].time_s - items[0].time_s == 5


def test_a_table_decides_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "pictures.csv").write_text("path,label,time\na/b.jpg,cat,2026-01-01T00:00:00Z\nc.jpg,dog,\n")
    one, other = read_dataset(tmp_path)
    assert (one.name, one.label, one.time_s) == ("a/b.jpg", "cat", 1767225600.0)
    assert (other.path, other.time_s) == (tmp_path / "c.jpg", None)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("name,label\n", "line 1: expected the columns path,label"),
        ("path,label\n../x.jpg,cat\n", "line 2: '../x.jpg' is no path below the set"),
        ("path,label\n/etc/x.jpg,cat\n", "line 2: '/etc/x.jpg' is no path"),
        ("path,label\nx.jpg,unknown\n", "line 2: 'unknown' cannot be taught"),
        ("path,label,time\nx.jpg,cat,noon\n", "line 2: 'noon' is no time"),
        ("path,label\nx.jpg,cat\nx.jpg,dog\n", "names a picture twice"),
        ("path,label\n", "no pictures there"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_its_line(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "pictures.csv").write_text(table)
    with pytest.raises(ModelError, match=problem):
        read_dataset(tmp_path)


@given(st.binary(max_size=200))
def test_no_table_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("set")
    (root / "pictures.csv").write_bytes(b"path,label,time\n" + content)
    items: tuple[Item, ...] = ()
    with contextlib.suppress(ModelError):
        items = read_dataset(root)
    assert all(item.path.is_relative_to(root) for item in items)


@pytest.mark.parametrize(
    ("name", "time_s"),
    [
        ("20260101T000000Z.jpg", 1767225600.0),
        ("cam_2026-01-01_00-00-00.png", 1767225600.0),
        ("20260101T000000.250Z.jpg", 1767225600.25),
        ("20261301T000000Z.jpg", None),
        ("IMG_0001.jpg", None),
    ],
)
def test_the_time_is_read_from_a_name(name: str, time_s: float | None) -> None:
    assert time_in(name) == time_s


items_of_labels = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 5000).map(float))),
    min_size=1,
    max_size=60,
).map(
    lambda rows: tuple(
        Item(Path(f"{place}"), f"{label}/{place}", label, time_s)
        for place, (label, time_s) in enumerate(rows)
    )
)


@given(items_of_labels, st.integers(0, 3))
def test_no_burst_is_in_two_parts_of_a_split_and_every_label_is_in_each(
    items: tuple[Item, ...], seed: int
) -> None:
    bursts = bursts_of(items)
    try:
        made = split(items, bursts, seed)
    except ModelError:
        return
    parts = (made.learn, made.tune, made.judge)
    assert sorted(place for part in parts for place in part) == list(range(len(items)))
    for part in parts:
        assert {items[place].label for place in part} == {item.label for item in items}
    for one in parts:
        for other in parts:
            if one is not other:
                assert not {bursts[place] for place in one} & {bursts[place] for place in other}
    assert split(items, bursts, seed) == made


def test_a_label_that_was_taken_in_one_go_cannot_be_judged(tmp_path: Path) -> None:
    items = read_dataset(render(tmp_path / "set", days=1))
    with pytest.raises(ModelError, match="closed has 1, open has 1; take more at another time"):
        split(items, bursts_of(items), 0)


def test_a_long_burst_is_cut() -> None:
    items = tuple(Item(Path(f"{i}"), f"{i:03}", "a", 5.0 * i) for i in range(200))
    assert len(set(bursts_of(items))) == 2
    assert len(set(bursts_of(items, longest_s=100))) == 10


def test_noise_changes_a_fingerprint_less_than_another_scene_does() -> None:
    base = scene("open", 1, 0)
    noisy = np.clip(base.astype(int) + np.random.default_rng(0).integers(-1, 2, base.shape), 0, 255)
    near, far = distances(
        fingerprint(base), np.array([fingerprint(noisy.astype(np.uint8)), fingerprint(scene("closed", 2, 0))])
    )
    assert near < far


def test_a_check_finds_broken_files_copies_across_the_split_and_contradictions(tmp_path: Path) -> None:
    root = render(tmp_path / "set", days=4, shots=3)
    (root / "open" / "20260109T000000Z.jpg").write_bytes(b"no picture")
    whole = read_dataset(root)
    assert check(root).broken[0][0] == "open/20260109T000000Z.jpg"
    (root / "open" / "20260109T000000Z.jpg").unlink()
    content = (root / "open" / "20260101T120400Z.png").read_bytes()
    for path in (root / "open").iterdir():
        path.write_bytes(content)
    found = check(root)
    assert not found.problems
    assert {twins.bits for twins in found.across} == {0}
    assert len(found.across) == sum(found.parts[1:]) // 2
    assert len(whole) == sum(found.parts) + 1
    for path in (root / "closed").iterdir():
        path.write_bytes(content)
    assert len(check(root).across + check(root).contradicting) == sum(found.parts[1:])


def test_the_command_prints_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = render(tmp_path / "set", days=4, shots=3)
    assert main(["dataset", "check", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "12       4  closed" in shown
    assert "12 to learn from, 6 to tune on, 6 to judge by" in shown
    assert main(["dataset", "check", str(root), "--longest-burst", "0"]) == 2
    render(tmp_path / "small", days=1, shots=1)
    assert main(["dataset", "check", str(tmp_path / "small")]) == 1
