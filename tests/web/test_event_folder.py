"""Events on disk: they come back after a restart, within their room, whatever else lies there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.mqtt.contract.payloads import plain
from edge_agent.pipeline.jpeg import encode_jpeg
from edge_agent.system.log import RepeatedError
from edge_agent.web.event_folder import EventFolder, _event
from edge_agent.web.event_ring import Event, EventRing
from tests.mqtt import samples

MB = 1 << 20
PICTURE = encode_jpeg(np.full((120, 160, 3), 90, np.uint8), 75)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., EventFolder]:
    def make(most_bytes: int = MB) -> EventFolder:
        return EventFolder(tmp_path / "events", most_bytes, RepeatedError(logging.getLogger("test")))

    return make


def filled(folder: EventFolder, seqs: range, picture: bytes = b"") -> None:
    with closing(EventRing(1, keeper=folder)) as ring:
        for seq in seqs:
            ring.add(Event(samples.changed(seq), picture))


def test_events_and_their_pictures_come_back_after_a_restart(folder: Callable[..., EventFolder]) -> None:
    filled(folder(), range(1, 31), PICTURE)
    with closing(EventRing(1, most=20, keeper=folder())) as ring:
        found = ring.since(0).events
        assert [plain(event.changed) for event in found] == [
            plain(samples.changed(seq)) for seq in range(11, 31)
        ]
        assert all(event.has_picture and not event.thumbnail for event in found)
        assert ring.thumbnail(11) == PICTURE
        assert ring.thumbnail(99) == b""


def test_a_picture_that_memory_has_let_go_is_read_from_the_disk(folder: Callable[..., EventFolder]) -> None:
    with closing(EventRing(1, most_pictures=1, keeper=folder())) as ring:
        for seq in (1, 2):
            ring.add(Event(samples.changed(seq), PICTURE))
        ring.close()
        assert ring.thumbnail(1) == PICTURE


def test_the_oldest_go_where_there_is_no_room(folder: Callable[..., EventFolder], tmp_path: Path) -> None:
    filled(folder(), range(1, 21), PICTURE)
    size = max(file.stat().st_size for file in (tmp_path / "events").iterdir())
    filled(folder(5 * size), range(21, 24), PICTURE)
    left = sorted(int(file.stem) for file in (tmp_path / "events").iterdir())
    assert left == [19, 20, 21, 22, 23]


def test_only_the_agents_user_may_read_them(folder: Callable[..., EventFolder], tmp_path: Path) -> None:
    filled(folder(), range(1, 2))
    (file,) = (tmp_path / "events").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_is_cut_or_not_of_the_agent_is_left_out(
    folder: Callable[..., EventFolder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(folder(), range(1, 4), PICTURE)
    files = sorted((tmp_path / "events").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-10])
    files[1].write_bytes(b"")
    (tmp_path / "events/holiday.jpg").write_bytes(b"mine")
    (tmp_path / f"events/{7:020d}.event").write_bytes(files[2].read_bytes())  # of another number
    with closing(EventRing(1, keeper=folder())) as ring:
        assert [event.changed.seq for event in ring.since(0).events] == [3]
        assert ring.thumbnail(1) == b""
    assert "kept events that cannot be read" in caplog.text
    assert (tmp_path / "events/holiday.jpg").exists()


def test_a_disk_that_cannot_be_written_is_said_once(
    folder: Callable[..., EventFolder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events").write_text("a file where a folder should be")
    filled(folder(), range(1, 4))
    assert [record.message for record in caplog.records if "events cannot be kept" in record.message]
    assert len(caplog.records) == 1


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_content_is_taken_for_an_event_that_it_is_not(content: bytes) -> None:
    assert _event(content, 1) is None
