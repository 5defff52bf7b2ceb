"""State dicts in every format: mapped, with their own types, and damage that ends in an error by name."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

from edge_agent.errors import ModelError
from edge_agent.tools.builder.checkpoint import read_file
from tests.attack.tally import Tally
from tests.tools.builder.archive.bent import bent, bent_zip, entries_of

TYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def state() -> dict[str, Any]:
    """A tensor of each type, whole, in part, turned, expanded, empty, and a single number."""
    values = torch.arange(-12, 12).reshape(2, 3, 4)
    made: dict[str, Any] = {str(dtype).removeprefix("torch."): values.to(dtype) for dtype in TYPES}
    whole = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    made |= {"part": whole[1:3, ::2], "turned": whole.T, "expanded": whole[:1].expand(5, 6)}
    made |= {"empty": torch.zeros(0, 3), "number": torch.tensor(3.5), "last": whole.contiguous()}
    made["channels_last"] = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    return made


def saved(path: Path, value: object, *, legacy: bool = False, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_kind_of_tensor_is_read_as_torch_wrote_it(tmp_path: Path, legacy: bool, protocol: int) -> None:
    written = state()
    found = read_file(saved(tmp_path / "state.pth", written, legacy=legacy, protocol=protocol))
    assert isinstance(found, dict)
    assert list(found) == list(written)
    for name, tensor in written.items():
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        assert found[name].dtype == expected.dtype
        assert not found[name].flags.writeable or not found[name].size


def safetensors_of(tensors: dict[str, Any]) -> bytes:
    """The format as its specification has it: a length, JSON, and the tensors in a row."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        entry = {"dtype": names[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = entry | {"data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_safetensors_are_read(tmp_path: Path) -> None:
    written = {name: state()[name] for name in ("float32", "float16", "bfloat16", "int64", "part", "empty")}
    (tmp_path / "state.safetensors").write_bytes(safetensors_of(written))
    found = read_file(tmp_path / "state.safetensors")
    assert isinstance(found, dict)
    for name, tensor in written.items():
        np.testing.assert_array_equal(found[name], tensor.float().numpy(), err_msg=name)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry | {"data_offsets": [0, 1 << 60]},
        lambda entry: entry | {"data_offsets": [-8, 8]},
        lambda entry: entry | {"shape": [1 << 40]},
        lambda entry: entry | {"shape": "everything"},
        lambda entry: entry | {"dtype": "F8_E4M3"},
        lambda _: None,
    ],
)
def test_safetensors_that_point_elsewhere_are_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    file = safetensors_of({"weight": torch.zeros(2)})
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    text = json.dumps({"weight": change(header["weight"])}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + file[8 + length :])
    with pytest.raises(ModelError, match=r"weights\.safetensors: damaged, or no safetensors file"):
        read_file(path)


def test_weights_are_mapped_and_not_copied(tmp_path: Path) -> None:
    path = saved(tmp_path / "large.pth", {"weight": torch.zeros(64 << 18)})  # 64 MB
    program = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from edge_agent.memory.procfs import read_memory
from edge_agent.tools.builder.checkpoint import read_file
before = read_memory().anon_mb
found = read_file(Path(sys.argv[1]))
print(read_memory().anon_mb - before)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 8


def unexpected(path: Path) -> float:
    """How long reading took, in s; anything but a result or a ModelError fails the test."""
    began = time.monotonic()
    try:
        read_file(path)
    except ModelError as error:
        if not str(error).isprintable():
            pytest.fail(repr(error))
    return time.monotonic() - began


def samples(tmp_path: Path) -> tuple[bytes, bytes, dict[str, bytes]]:
    checkpoint = {"state_dict": state(), "epoch": 3, "args": {"lr": 0.1, "milestones": [1, 2]}}
    legacy = saved(tmp_path / "legacy.pth", checkpoint, legacy=True).read_bytes()
    path = saved(tmp_path / "whole.pth", checkpoint)
    return legacy, path.read_bytes(), entries_of(path)


def attack(tmp_path: Path, count: int) -> str:
    """Read so many damaged files; say what it took."""
    legacy, whole, entries = samples(tmp_path)
    path, slowest = tmp_path / "bent.pth", 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        match seed % 3:
            case 0:
                bent(path, seed, legacy)
            case 1:
                bent(path, seed, whole)
            case 2:
                bent_zip(path, seed, entries)
        slowest = max(slowest, unexpected(path))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert slowest < 5
    assert grown_mb < 300
    return f"each read or refused by name, at most {slowest:.2f} s, {grown_mb:.0f} MB more"


def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    attack(tmp_path, 600)


@pytest.mark.attack
def test_fifty_thousand_damaged_files_are_read_or_refused_by_name(tmp_path: Path, tally: Tally) -> None:
    outcome = attack(tmp_path, 50_000)
    tally.add("files of weights, bytes changed, cut or doubled, behind their checksums too", 50_000, outcome)


def pickled_in_zip(path: Path, pickle: bytes, entries: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        for name, content in (entries or {}).items():
            archive.writestr(f"archive/{name}", content)
    return path


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x04tQ"
)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a call of the system": (
        b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.",
        r"more than tensors \(posix.sys",
    ),
    "an import of a module that is there": (b"\x80\x02cedge_agent.cli\nmain\n)R.", "more than tensors"),
    "a getattr on the way to a call": (b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.", r"\(eval\)"),
    "a memo of four billion": (b"\x80\x02}r\xff\xff\xff\xff" + b"r\xfe\xff\xff\xff" * 9 + b".", ""),
    "a text of nine exabytes": (b"\x80\x04\x8d" + b"\xff" * 8 + b"abc.", "ends too early"),
    "bytes of nine exabytes": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x7fabc.", "ends too early"),
    "an integer of a million digits": (
        b"\x80\x02\x8b\x40\x42\x0f\x00" + b"\x01" * 1_000_000 + b".",
        "digits",
    ),
    "lists in lists in lists": (b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", ""),
    "tuples as a key, a hundred thousand deep": (
        b"\x80\x02}N" + b"\x85" * 100_000 + b"Ns.",
        "container as a key",
    ),
    "a list of itself": (b"\x80\x02]q\x00h\x00a.", ""),
    "laughs by the billion": (
        b"\x80\x02(K\x01K\x02l" + b"q\x00(" + b"h\x00" * 10 + b"l" + b"0h\x00" * 10 + b".",
        "",
    ),
    "a mark in the memo": (b"\x80\x02(q\x00h\x00.", "stack is empty"),
    "instructions without an end": (b"\x80\x02" + b"N0" * 1_500_000 + b".", "does not come to an end"),
    "a call of a tensor": (
        b"\x80\x02" + TENSOR + b"K\x00K\x04\x85K\x01\x85\x89ctorch\nSize\n)RtR)R.",
        "cannot be called",
    ),
    "a tensor beyond its storage": (
        b"\x80\x02" + TENSOR + b"K\x00K\x05\x85K\x01\x85\x89}tR.",
        "reaches beyond its storage of 4",
    ),
    "a tensor before its storage": (
        b"\x80\x02" + TENSOR + b"J\xff\xff\xff\xffK\x04\x85K\x01\x85\x89}tR.",
        "makes no sense",
    ),
    "strides that go back": (
        b"\x80\x02" + TENSOR + b"K\x00K\x02\x85J\xff\xff\xff\xff\x85\x89}tR.",
        "are no sizes",
    ),
    "a billion numbers of four": (
        b"\x80\x02" + TENSOR + b"K\x00J\x00\xca\x9a\x3b\x85K\x00\x85\x89}tR.",
        "more numbers than its storage",
    ),
    "a sparse tensor": (b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n)R.", "a sparse tensor"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_ends_within_seconds_and_bounded_memory(tmp_path: Path, case: str) -> None:
    pickle, message = HOSTILE[case]
    path = pickled_in_zip(tmp_path / "hostile.pth", pickle, {"data/0": bytes(16)})
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
sys.modules["torch"] = None
from pathlib import Path
from edge_agent.errors import ModelError
from edge_agent.tools.builder.state_dict import read_state_dict
try:
    read_state_dict(Path(sys.argv[1]))
except ModelError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "hostile.pth: " in done.stdout
    assert done.stdout.strip().isprintable()
    if message:
        with pytest.raises(ModelError, match=message):
            read_file(path)


def test_a_storage_that_many_tensors_share_is_read_once(tmp_path: Path) -> None:
    shared = torch.zeros(1000)
    found = read_file(saved(tmp_path / "shared.pth", {str(n): shared[n:] for n in range(100)}))
    assert isinstance(found, dict)
    assert {id(value.base.base) for value in found.values()}
    assert found["0"].base is not None


def test_a_bomb_of_packed_bytes_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300 << 20))
    with pytest.raises(ModelError, match=r"bomb\.pth: unfolds to much more than its size"):
        read_file(tmp_path / "bomb.pth")


def test_an_archive_packed_by_somebody_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "whole.pth", {"weight": torch.arange(9.0)})
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "p.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    found = read_file(tmp_path / "p.pth")
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["weight"], np.arange(9.0))


def test_a_folder_and_a_missing_file_are_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(ModelError, match="cannot be read"):
            read_file(path)
