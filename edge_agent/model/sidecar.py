"""The sidecar, `model.json`: what a built model is, and the files that it is made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from edge_agent.errors import ArtifactError
from edge_agent.model.members import Members

SIDECAR_NAME = "model.json"
SIDECAR_FORMAT = 1

FileRole = Literal["torchscript-fp16", "torchscript-fp32", "xnnpack-fp16", "xnnpack-fp32"]

_HASH_BUFFER_BYTES = 1 << 16
_LARGEST_SIDECAR_BYTES = 8 << 20
_LARGEST_CROP = 4096


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes the network's input: torchvision's evaluation transform, as numbers.

    The shorter side is resized to `resize` (antialiased), the centre `crop` x `crop` is cut out, and each
    channel of a pixel scaled to 0..1 becomes (value - mean) / std.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of the model directory."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """Where the weights came from, as published in `info`."""

    source: str
    """`IMAGENET1K_V1`, a package's name and version, or the given file's name."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything about a model but its weights.

    `sha256` identifies the model as a whole: the hash over the sorted (role, file sha256) pairs of `files`.
    `files` maps a role to the files that serve it: one for a torchscript role, plan then weights for an
    xnnpack role. `not_lowered` says why there are no xnnpack files, and is empty where there are.
    """

    name: str
    arch: str
    created: str
    torch_version: str
    weights: WeightsOrigin
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    files: dict[str, tuple[ArtifactFile, ...]] = field(default_factory=dict)
    not_lowered: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory whose sidecar was read and found valid."""

    directory: Path
    sidecar: Sidecar


def files_sha256(files: Mapping[str, tuple[ArtifactFile, ...]]) -> str:
    """Return the hash that identifies a model: over one `role sha256` line per file, sorted."""
    lines = sorted(f"{role} {file.sha256}\n" for role, served_by in files.items() for file in served_by)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal, read through a small buffer."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_HASH_BUFFER_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def describe_file(path: Path) -> ArtifactFile:
    """Return the sidecar's entry for a file that was just written."""
    return ArtifactFile(path.name, path.stat().st_size, file_sha256(path))


def open_role(artifact: Artifact, role: FileRole) -> tuple[Path, ...]:
    """Return the paths of the files that serve `role`, each checked against its size and sha256.

    Hashing reads each file once, so call it once for each load. Raises ArtifactError when the model has no
    such role, or a file is missing, unreadable or not what the sidecar says.
    """
    entries = artifact.sidecar.files.get(role)
    if not entries:
        raise ArtifactError(_no_such_role(artifact, role))
    return tuple(_checked(artifact.directory / entry.name, entry) for entry in entries)


def read_sidecar(directory: Path) -> Artifact:
    """Read and validate `model.json` of a model directory; the model's own files are not read.

    Raises ArtifactError, which names the file and the key, when it is missing, malformed or of a newer
    format.
    """
    path = directory / SIDECAR_NAME
    members = Members(path, "", _load_json(path))
    written_as = members.integer("format", at_least=1)
    if written_as > SIDECAR_FORMAT:
        members.fail(
            "format",
            f"is {written_as}, and this edge-agent reads up to {SIDECAR_FORMAT}: update edge-agent, or build"
            " the model with the version in use",
        )
    return Artifact(directory, _sidecar(members))


def write_sidecar(directory: Path, sidecar: Sidecar) -> None:
    """Write `model.json` so that a reader finds the old one or the new one, never half of it."""
    document = {"format": SIDECAR_FORMAT, **asdict(sidecar)}
    temporary = directory / f".{SIDECAR_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(directory / SIDECAR_NAME)


def _no_such_role(artifact: Artifact, role: str) -> str:
    sidecar, path = artifact.sidecar, artifact.directory / SIDECAR_NAME
    if role.startswith("xnnpack") and sidecar.not_lowered:
        return (
            f"{path}: the model has no {role} files, because it could not be lowered: {sidecar.not_lowered};"
            " use the torchscript engine"
        )
    there = ", ".join(sorted(sidecar.files)) or "none"
    return f"{path}: the model has no {role} files (it has: {there}); build it again"


def _checked(path: Path, entry: ArtifactFile) -> Path:
    advice = "; copy the model again, or build it again"
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise ArtifactError(
                f"{path}: damaged: it has {size} bytes, {SIDECAR_NAME} says {entry.bytes}{advice}"
            )
        if file_sha256(path) != entry.sha256:
            raise ArtifactError(f"{path}: damaged: its sha256 is not the one in {SIDECAR_NAME}{advice}")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}{advice}") from error
    return path


def _load_json(path: Path) -> object:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_SIDECAR_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read: {error.strerror or error}; a model directory is made by"
            " `edge-agent model build --output DIR`"
        ) from error
    if len(text) > _LARGEST_SIDECAR_BYTES:
        raise ArtifactError(f"{path}: larger than {_LARGEST_SIDECAR_BYTES} bytes: not a sidecar")
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON: {error}; build the model again") from error
    return document


def _sidecar(members: Members) -> Sidecar:
    weights = members.members("weights")
    sidecar = Sidecar(
        name=members.text("name"),
        arch=members.text("arch"),
        created=members.text("created"),
        torch_version=members.text("torch_version", pattern=r"\d+\.\d+.*", meaning="a version like 2.10.0"),
        weights=WeightsOrigin(weights.text("source"), weights.sha256("sha256")),
        preprocessing=_preprocessing(members.members("preprocessing")),
        labels=members.texts("labels"),
        files=_files(members.members("files")),
        not_lowered=members.text("not_lowered", may_be_empty=True),
        sha256=members.sha256("sha256"),
    )
    if sidecar.sha256 != files_sha256(sidecar.files):
        members.fail(
            "sha256", "is not that of the files listed: the sidecar was altered; build the model again"
        )
    return sidecar


def _preprocessing(members: Members) -> Preprocessing:
    preprocessing = Preprocessing(
        resize=members.integer("resize", at_least=1, at_most=2 * _LARGEST_CROP),
        crop=members.integer("crop", at_least=1, at_most=_LARGEST_CROP),
        mean=members.rgb("mean"),
        std=members.rgb("std"),
        interpolation=cast(
            Literal["bilinear", "bicubic"],
            members.text("interpolation", pattern="bilinear|bicubic", meaning="bilinear or bicubic"),
        ),
    )
    if preprocessing.resize < preprocessing.crop:
        members.fail("resize", f"is {preprocessing.resize}, smaller than crop, {preprocessing.crop}")
    if min(preprocessing.std) <= 0:
        members.fail("std", "must be above 0")
    return preprocessing


def _files(members: Members) -> dict[str, tuple[ArtifactFile, ...]]:
    for role in members.names():
        if role not in get_args(FileRole):
            members.fail(role, f"is not a role; the roles are {', '.join(get_args(FileRole))}")
    return {role: _role_files(members, role) for role in members.names()}


def _role_files(members: Members, role: str) -> tuple[ArtifactFile, ...]:
    expected = 2 if role.startswith("xnnpack") else 1
    entries = members.list_of_members(role)
    if len(entries) != expected:
        members.fail(role, f"lists {len(entries)} files, expected {expected}")
    return tuple(
        ArtifactFile(
            # A plain name, so that a sidecar cannot point outside its directory.
            name=entry.text("name", pattern=r"[A-Za-z0-9_-][A-Za-z0-9._-]*", meaning="a plain file name"),
            bytes=entry.integer("bytes", at_least=0),
            sha256=entry.sha256("sha256"),
        )
        for entry in entries
    )
