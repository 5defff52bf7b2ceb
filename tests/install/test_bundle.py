"""A bundle is unpacked whole, into its directory alone; anything else is refused and fills nothing."""

from __future__ import annotations

import random
import subprocess
import tarfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.errors import ModelError
from edge_agent.install.bundle import Unpacked, unpack
from edge_agent.model.sidecar import Artifact
from edge_agent.tools.installer.bundle import write_bundle
from tests.install.bundles import bundle, other, sha256, with_sum


def unpacked(content: bytes, tmp_path: Path) -> dict[str, Unpacked]:
    file, directory = tmp_path / "bundle", tmp_path / "outside/files"
    directory.mkdir(parents=True)
    file.write_bytes(content)
    with file.open("rb") as opened:
        return unpack(opened, directory)


def refusal(content: bytes, tmp_path: Path) -> str:
    """Why it is refused; nothing has come to lie outside."""
    tmp_path.mkdir(exist_ok=True)
    with pytest.raises(ModelError) as caught:
        unpacked(content, tmp_path)
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "outside"]
    return str(caught.value)


def test_files_come_out_with_their_sizes_and_hashes(tmp_path: Path) -> None:
    files = {"model.json": b"{}", "a.weights": bytes(range(256)) * 300, "empty": b""}
    found = unpacked(bundle(*files.items()), tmp_path)
    assert found == {name: Unpacked(len(content), sha256(content)) for name, content in files.items()}
    for name, content in files.items():
        assert (tmp_path / "outside/files" / name).read_bytes() == content


def test_a_model_is_bundled_the_same_each_time_and_tar_reads_it_too(lite0: Artifact, tmp_path: Path) -> None:
    made = [write_bundle(lite0, tmp_path / name) for name in ("one.tar", "two.tar")]
    assert (made[0].bytes, made[0].sha256) == (made[1].bytes, made[1].sha256)
    found = unpacked((tmp_path / "one.tar").read_bytes(), tmp_path / "room")
    assert found.keys() == lite0.sidecar.listed.keys() | {"model.json"}
    (tmp_path / "by-tar").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "one.tar", "-C", tmp_path / "by-tar"], check=True)
    for path in (tmp_path / "by-tar").iterdir():
        assert path.read_bytes() == (lite0.directory / path.name).read_bytes()
    with pytest.raises(ModelError, match="is there already"):
        write_bundle(lite0, tmp_path / "one.tar")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/b", "..", ".", ".hidden", "a\nb", "a b", "é"])
def test_a_name_that_leads_elsewhere_or_is_not_plain(name: str, tmp_path: Path) -> None:
    assert "plain names" in refusal(bundle((name, b"x")), tmp_path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"x", b"L"],
)
def test_what_is_no_plain_file(kind: bytes, tmp_path: Path) -> None:
    assert "plain files" in refusal(bundle(other("a", kind, "/etc/passwd")), tmp_path)


def test_headers_that_would_fill_the_memory_are_not_read(tmp_path: Path) -> None:
    long = bundle(("a" * 5000, b"x"), format=tarfile.PAX_FORMAT)
    assert "plain files" in refusal(long, tmp_path)


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"00000010000\0", b"-0000000001\0", b"\x80" + bytes(10) + b"\xff"]
)
def test_a_size_that_is_not_there_takes_no_room(size: bytes, tmp_path: Path) -> None:
    header = bytearray(bundle(("a", b"x" * 512))[:512])
    header[124:136] = size
    tracemalloc.start()
    said = refusal(with_sum(bytes(header)) + b"x" * 512 + bytes(1024), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "ends within a" in said or "no size" in said
    assert peak < 1 << 20
    assert not any(path.stat().st_size for path in (tmp_path / "outside/files").iterdir())


def test_twice_the_same_name_and_too_many(tmp_path: Path) -> None:
    assert "a twice" in refusal(bundle(("a", b"x"), ("a", b"y")), tmp_path)
    many = bundle(*((f"f{number}", b"") for number in range(17)))
    assert "more than 16" in refusal(many, tmp_path / "many")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(600), b"PK\3\4" + bytes(600), bytes(100)])
def test_what_is_no_bundle(content: bytes, tmp_path: Path) -> None:
    assert "no bundle" in refusal(content, tmp_path)


def test_something_behind_its_end(tmp_path: Path) -> None:
    assert "behind its end" in refusal(bundle(("a", b"x")) + b"more", tmp_path)


def test_any_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    content, chance = bundle(("model.json", b"{}" * 300), ("a.weights", b"w" * 2000)), random.Random(7)
    for number in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        room = tmp_path / str(number)
        room.mkdir()
        with suppress(ModelError):
            unpacked(bytes(damaged[: chance.choice([None, chance.randrange(len(damaged))])]), room)
        assert [path.name for path in (room / "outside").iterdir()] == ["files"]
        assert sum(path.stat().st_size for path in (room / "outside/files").iterdir()) <= len(content)
