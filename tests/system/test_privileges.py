"""Root does nothing as root where somebody else could redirect it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.system.privileges import become_owner_of

_SOMEBODY = 54321  # a user id without a name
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")


def as_owner_of(path: Path, then: str = "") -> str:
    """What a process of root's says after it became the owner of the way to `path`."""
    program = f"""
import os, pathlib
from edge_agent.system.privileges import become_owner_of
print(become_owner_of(pathlib.Path({str(path)!r})), os.getuid(), os.geteuid(), os.getgroups())
{then}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory that somebody else owns, on a way that they may pass."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and str(directory).startswith("/tmp/"):
            directory.chmod(0o755)
    directory = tmp_path / "theirs"
    directory.mkdir()
    os.chown(directory, _SOMEBODY, _SOMEBODY)
    return directory


def test_an_ordinary_user_stays_who_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert become_owner_of(Path("/var/lib")) == ""


@as_root
def test_where_all_is_roots_root_stays_root(tmp_path: Path) -> None:
    assert as_owner_of(tmp_path / "not/there").startswith("0 0")


@as_root
def test_below_somebodys_directory_root_goes_on_as_they(theirs: Path) -> None:
    said = as_owner_of(theirs / "new/file")
    assert said == f"going on as user {_SOMEBODY}, who owns {theirs} {_SOMEBODY} {_SOMEBODY} []"


@as_root
@pytest.mark.parametrize("planted", ["link", "chain"])
def test_a_link_that_leads_through_somebodys_directory_counts(
    theirs: Path, tmp_path: Path, planted: str
) -> None:
    (theirs / "back").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(theirs / "back")
    (tmp_path / "chain").symlink_to("link")
    assert f" {_SOMEBODY} {_SOMEBODY} " in as_owner_of(tmp_path / planted / "x")


@as_root
def test_a_link_planted_by_them_leads_where_they_may_write_and_nowhere_else(
    theirs: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    (theirs / "models").symlink_to(mine)
    said = as_owner_of(
        theirs / "models/evidence",
        then=f"""
from edge_agent.system.files import write_atomic
try:
    write_atomic(pathlib.Path({str(theirs)!r}) / "models/evidence", "x")
except PermissionError:
    print("refused")
""",
    )
    assert said.endswith("refused")
    assert list(mine.iterdir()) == []


@as_root
def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert as_owner_of(tmp_path / "a").startswith("0 0")
