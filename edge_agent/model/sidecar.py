"""The sidecar, `model.json`: describes a built model and lists its files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from edge_agent.errors import ArtifactError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.plan import Precision
from edge_agent.system.files import write_atomic
from edge_agent.system.json_reader import (
    JsonError,
    MismatchError,
    Rule,
    at_least,
    between,
    matching,
    parse,
    read,
)

SIDECAR_NAME = "model.json"
SIDECAR_FORMAT = 4
"""Format 1 knows neither `activation` nor `squash` nor `grey`, format 2 no `temperature`, format 3 no
`left_out`: a program that knows less than is there would answer wrongly, or take the model for altered."""

EngineName = Literal["native", "xnnpack", "torchscript"]
FileRole = Literal["torchscript-fp16", "torchscript-fp32", "xnnpack-fp16", "xnnpack-fp32"]

_HASH_BUFFER_BYTES = 1 << 16
_ADVICE = "; copy the model again, or build it again"
_LARGEST_SIDECAR_BYTES = 8 << 20
LARGEST_CROP = 4096
LONGEST_TEXT = 500
LONGEST_LABEL = 200
MOST_TEMPERATURE = 100.0

Activation = Literal["softmax", "sigmoid"]
"""How logits become probabilities: of classes that exclude each other, or of each class for itself."""

# Not printable by Python's definition, but ordinary writing: joiners, and blanks that are not the usual one.
_ORDINARY = frozenset("\u200c\u200d\u00a0\u2009\u202f\u3000")


def is_clean(text: str) -> bool:
    """Whether a terminal and a subscriber can be given `text` as it is: there are no controls in it."""
    return text.isprintable() or all(char.isprintable() or char in _ORDINARY for char in text)


Text = Annotated[
    str,
    Rule(
        lambda text: 0 < len(text) <= LONGEST_TEXT and is_clean(text),
        f"expected a text of 1 to {LONGEST_TEXT} characters, none of them a control character",
    ),
]
Sha256 = Annotated[str, matching("[0-9a-f]{64}", "64 hexadecimal digits")]
Temperature = Annotated[
    float,
    Rule(
        lambda number: 1 / MOST_TEMPERATURE <= number <= MOST_TEMPERATURE,
        f"expected a number from {1 / MOST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}",
    ),
]
# A plain name, so that a sidecar cannot point outside its directory.
FileName = Annotated[str, matching(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", "a plain file name")]
Rgb = Annotated[
    tuple[float, float, float], Rule(lambda rgb: all(map(math.isfinite, rgb)), "expected three numbers")
]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The numbers of torchvision's evaluation transform, which makes the network's input of a picture.

    The shorter side, or with `squash` each of them, is resized to `resize` (antialiased), the centre `crop` x
    `crop` is cut out, with `grey` its luminance fills all three channels, and each channel of a pixel scaled
    to 0..1 becomes (value - mean) / std.
    """

    resize: Annotated[int, between(1, 2 * LARGEST_CROP)]
    crop: Annotated[int, between(1, LARGEST_CROP)]
    mean: Rgb
    std: Rgb
    interpolation: Annotated[Literal["bilinear", "bicubic"], Rule(bool, "expected bilinear or bicubic")] = (
        "bilinear"
    )
    squash: bool = False
    grey: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of the model directory."""

    name: FileName
    bytes: Annotated[int, at_least(0)]
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """Where the weights came from, as published in `info`."""

    source: Text
    """`IMAGENET1K_V1`, a package's name and version, or the given file's name."""
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything about a model except its weights.

    `sha256` identifies the model: it is the hash over the sorted (role, file sha256) pairs of `files` and
    `left_out`, so that a model of which some roles were left out is still that model.
    `files` maps a role to the files that serve it: one for a torchscript role, plan then weights for an
    xnnpack role. `not_lowered` says why there are no xnnpack files, and is empty where there are.
    """

    name: Text
    arch: Text
    created: Text
    torch_version: Annotated[str, matching(r"\d+\.\d+[!-~]{0,40}", "a version like 2.10.0")]
    weights: WeightsOrigin
    preprocessing: Preprocessing
    labels: Annotated[tuple[Text, ...], Rule(len, "expected a list of texts")]
    files: dict[str, tuple[ArtifactFile, ...]]
    sha256: Sha256
    not_lowered: Annotated[str, Rule(is_clean, "expected a text without control characters")] = ""
    activation: Annotated[Activation, Rule(bool, "expected softmax or sigmoid")] = "softmax"
    temperature: Temperature = 1.0
    """What logits are divided by before they become probabilities, for these to say how often they hold."""
    left_out: dict[str, tuple[ArtifactFile, ...]] = field(default_factory=dict)
    """Roles that the model was built with, and whose files are not here: a bundle has no use for them."""

    @property
    def listed(self) -> dict[str, ArtifactFile]:
        """The files of all roles by their names."""
        return {file.name: file for served_by in self.files.values() for file in served_by}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory whose sidecar was read and found valid."""

    directory: Path
    sidecar: Sidecar


def role_of(engine: EngineName, precision: Precision) -> FileRole:
    """Return the role of the files that the engine runs in that precision.

    native and xnnpack run the same plan; the role has the name of the engine that was there first.
    """
    return cast(FileRole, f"{'xnnpack' if engine == 'native' else engine}-{precision}")


def files_sha256(files: Mapping[str, tuple[ArtifactFile, ...]]) -> str:
    """Return the hash that identifies a model: over one `role sha256` line per file, sorted."""
    lines = sorted(f"{role} {file.sha256}\n" for role, served_by in files.items() for file in served_by)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_program(role: str) -> bool:
    """Whether the files of a role are TorchScript, which runs whatever program it holds."""
    return role.startswith("torchscript-")


def without_programs(sidecar: Sidecar) -> Sidecar:
    """The same model, of the same `sha256`, without its TorchScript files."""
    programs = {role: files for role, files in sidecar.files.items() if is_program(role)}
    plans = {role: files for role, files in sidecar.files.items() if role not in programs}
    return replace(sidecar, files=plans, left_out=sidecar.left_out | programs)


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
    return tuple(_checked(artifact.directory / entry.name, entry) for entry in role_files(artifact, role))


def damage(artifact: Artifact) -> list[str]:
    """What is wrong with the model's files, by their sidecar: a sentence for each role that is concerned."""
    problems = []
    for role in artifact.sidecar.files:
        try:
            open_role(artifact, cast(FileRole, role))
        except ArtifactError as error:
            problems.append(str(error))
    return problems


def check_whole(artifact: Artifact) -> None:
    """Raise ArtifactError unless each of the model's files is what its sidecar says."""
    if problems := damage(artifact):
        raise ArtifactError("; ".join(problems))


def role_files(artifact: Artifact, role: FileRole) -> tuple[ArtifactFile, ...]:
    """Return the files that serve `role`, unchecked. Raises ArtifactError when the model has none."""
    if entries := artifact.sidecar.files.get(role):
        return entries
    raise ArtifactError(_no_such_role(artifact, role))


def read_checked(path: Path, entry: ArtifactFile, most_bytes: int) -> bytes:
    """Return the contents of a small file. Raises ArtifactError when it is not what the sidecar says."""
    try:
        with path.open("rb") as file:
            contents = file.read(most_bytes + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}{_ADVICE}") from error
    if len(contents) > most_bytes or hashlib.sha256(contents).hexdigest() != entry.sha256:
        raise ArtifactError(f"{path}: damaged: its sha256 is not the one in {SIDECAR_NAME}{_ADVICE}")
    return contents


def read_sidecar(directory: Path) -> Artifact:
    """Read and validate `model.json` of a model directory; the model's own files are not read.

    Raises ArtifactError, which names the file and the key, when it is missing, malformed or of a newer
    format.
    """
    path = directory / SIDECAR_NAME
    try:
        sidecar = _decode(_contents(path))
    except JsonError as error:
        raise ArtifactError(f"{path}: {error}; build the model again") from error
    return Artifact(directory, sidecar)


def write_sidecar(directory: Path, sidecar: Sidecar) -> None:
    """Write `model.json` so that a reader finds the old one or the new one, never half of it."""
    write_atomic(directory / SIDECAR_NAME, sidecar_text(sidecar))


def sidecar_text(sidecar: Sidecar) -> str:
    """What stands in `model.json`."""
    return json.dumps({"format": _format_of(sidecar), **asdict(sidecar)}, indent=2) + "\n"


def _format_of(sidecar: Sidecar) -> int:
    """The oldest format that says all of it, so that an older edge-agent reads what it can run."""
    seen = sidecar.preprocessing
    if sidecar.left_out:
        return SIDECAR_FORMAT
    if sidecar.temperature != 1.0:
        return 3
    return 2 if seen.squash or seen.grey or sidecar.activation != "softmax" else 1


def _no_such_role(artifact: Artifact, role: str) -> str:
    sidecar, path = artifact.sidecar, artifact.directory / SIDECAR_NAME
    if role.startswith("xnnpack") and sidecar.not_lowered:
        return (
            f"{path}: the model has no {role} files, because it could not be lowered: {sidecar.not_lowered};"
            " use the torchscript engine"
        )
    if role in sidecar.left_out:
        return f"{path}: the model's {role} files were left out of the bundle that it came in"
    there = ", ".join(sorted(sidecar.files)) or "none"
    return f"{path}: the model has no {role} files (it has: {there}); build it again"


def _checked(path: Path, entry: ArtifactFile) -> Path:
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise ArtifactError(
                f"{path}: damaged: it has {size} bytes, {SIDECAR_NAME} says {entry.bytes}{_ADVICE}"
            )
        if file_sha256(path) != entry.sha256:
            raise ArtifactError(f"{path}: damaged: its sha256 is not the one in {SIDECAR_NAME}{_ADVICE}")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}{_ADVICE}") from error
    return path


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            contents = file.read(_LARGEST_SIDECAR_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read: {error.strerror or error}; a model directory is made by"
            " `edge-agent model build --output DIR`"
        ) from error
    if len(contents) > _LARGEST_SIDECAR_BYTES:
        raise ArtifactError(f"{path}: larger than {_LARGEST_SIDECAR_BYTES} bytes: not a sidecar")
    return contents


@dataclass(frozen=True, slots=True)
class _Head:
    format: Annotated[int, at_least(1)]


def _decode(contents: bytes) -> Sidecar:
    document = parse(contents)
    if (written_as := read(_Head, document).format) > SIDECAR_FORMAT:
        raise MismatchError(
            "format",
            f"is {written_as}, and this edge-agent reads up to {SIDECAR_FORMAT}: update edge-agent,"
            " or build the model with the version in use",
        )
    sidecar = read(Sidecar, document)
    _check_preprocessing(sidecar.preprocessing)
    if len(sidecar.labels) == 1 and sidecar.activation == "softmax":
        raise MismatchError(
            "labels",
            "has one label, whose softmax is 1 for every picture: train the network with two classes, or"
            " build with --activation sigmoid",
        )
    for role, served_by in (*sidecar.files.items(), *sidecar.left_out.items()):
        _check_role(role, len(served_by))
    # Else the hash would be that of another model's files, and not of those that are there.
    if twice := sorted(sidecar.files.keys() & sidecar.left_out.keys()):
        raise MismatchError(f"left_out.{twice[0]}", "is among the files, too")
    if sidecar.sha256 != files_sha256(sidecar.files | sidecar.left_out):
        raise MismatchError("sha256", "is not that of the files listed: the sidecar was altered")
    return sidecar


def _check_preprocessing(numbers: Preprocessing) -> None:
    if numbers.resize < numbers.crop:
        problem = f"is {numbers.resize}, smaller than crop, {numbers.crop}"
        raise MismatchError("preprocessing.resize", problem)
    if min(numbers.std) <= 0:
        raise MismatchError("preprocessing.std", "must be above 0")


def _check_role(role: str, files: int) -> None:
    if role not in get_args(FileRole):
        raise MismatchError(f"files.{role}", f"is not a role; the roles are {', '.join(get_args(FileRole))}")
    expected = 2 if role.startswith("xnnpack") else 1
    if files != expected:
        raise MismatchError(f"files.{role}", f"lists {files} files, expected {expected}")
