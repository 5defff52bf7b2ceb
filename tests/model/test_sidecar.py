"""The sidecar: what was written is read back, and nothing else is taken for a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError
from edge_agent.model.sidecar import (
    SIDECAR_FORMAT,
    SIDECAR_NAME,
    Artifact,
    ArtifactFile,
    Preprocessing,
    Sidecar,
    WeightsOrigin,
    check_whole,
    describe_file,
    file_sha256,
    files_sha256,
    is_clean,
    open_role,
    read_sidecar,
    without_programs,
    write_sidecar,
)

PREPROCESSING = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20).filter(is_clean)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
numbers = st.floats(-1e3, 1e3)
stds = st.floats(1e-3, 1e3)
entries = st.builds(
    ArtifactFile,
    name=st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True),
    bytes=st.integers(0, 2**40),
    sha256=hashes,
)
files = st.fixed_dictionaries(
    {},
    optional={
        "torchscript-fp16": st.tuples(entries),
        "torchscript-fp32": st.tuples(entries),
        "xnnpack-fp16": st.tuples(entries, entries),
        "xnnpack-fp32": st.tuples(entries, entries),
    },
)
preprocessings = st.integers(1, 512).flatmap(
    lambda crop: st.builds(
        Preprocessing,
        resize=st.integers(crop, 1024),
        crop=st.just(crop),
        mean=st.tuples(numbers, numbers, numbers),
        std=st.tuples(stds, stds, stds),
        interpolation=st.sampled_from(["bilinear", "bicubic"]),
    )
)
sidecars = st.builds(
    Sidecar,
    name=texts,
    arch=texts,
    created=texts,
    torch_version=st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}(\.[0-9])?(\+cpu)?", fullmatch=True),
    weights=st.builds(WeightsOrigin, source=texts, sha256=hashes),
    preprocessing=preprocessings,
    labels=st.lists(texts, min_size=2, max_size=5).map(tuple),
    activation=st.sampled_from(["softmax", "sigmoid"]),
    files=files,
    not_lowered=st.one_of(st.just(""), texts),
).map(lambda sidecar: replace(sidecar, sha256=files_sha256(sidecar.files)))
sidecars |= sidecars.map(without_programs)

same_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory whose files are a few bytes."""
    made = {}
    for role, names in {
        "torchscript-fp16": ["torchscript-fp16.pt"],
        "xnnpack-fp16": ["xnnpack-fp16.plan.json", "xnnpack-fp16.weights"],
    }.items():
        for name in names:
            (tmp_path / name).write_bytes(name.encode() * 10_000)
        made[role] = tuple(describe_file(tmp_path / name) for name in names)
    write_sidecar(
        tmp_path,
        Sidecar(
            name="resnet18",
            arch="resnet18",
            created="2026-01-02T03:04:05Z",
            torch_version="2.10.0",
            weights=WeightsOrigin("IMAGENET1K_V1", "0" * 64),
            preprocessing=PREPROCESSING,
            labels=("cat", "dog"),
            files=made,
            sha256=files_sha256(made),
        ),
    )
    return tmp_path


def document_of(model: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((model / SIDECAR_NAME).read_text())
    return document


@same_directory
@given(sidecar=sidecars)
def test_what_was_written_is_read_back(tmp_path: Path, sidecar: Sidecar) -> None:
    write_sidecar(tmp_path, sidecar)
    assert read_sidecar(tmp_path) == Artifact(tmp_path, sidecar)
    assert [path.name for path in tmp_path.iterdir()] == [SIDECAR_NAME]


@same_directory
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_sidecar_are_refused_with_the_file_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SIDECAR_NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        read_sidecar(tmp_path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths_in(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path] * bool(path) + [deeper for key, inner in items for deeper in paths_in(inner, (*path, key))]


@same_directory
@given(data=st.data(), value=anything)
def test_any_value_replaced_is_either_read_as_its_type_or_refused(
    model: Path, data: st.DataObject, value: object
) -> None:
    document = document_of(model)
    original = read_sidecar(model).sidecar
    path = data.draw(st.sampled_from(paths_in(document)))
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    altered = model / "altered"
    altered.mkdir(exist_ok=True)
    (altered / SIDECAR_NAME).write_text(json.dumps(document))
    with suppress(ArtifactError):
        found = read_sidecar(altered).sidecar
        write_sidecar(altered, found)
        assert read_sidecar(altered).sidecar == found
        assert files_sha256(found.files) == files_sha256(original.files)


@pytest.mark.parametrize("key", ["format", "name", "labels", "weights", "preprocessing", "files", "sha256"])
def test_a_missing_key_is_named(model: Path, key: str) -> None:
    document = document_of(model)
    del document[key]
    (model / SIDECAR_NAME).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=rf"model\.json: {key} is missing"):
        read_sidecar(model)


def set_in(*keys: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        holder: Any = document
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("labels", value=["cat", 7]), r"labels\[1\] is 7, expected a text"),
        (set_in("labels", value=[]), "labels is .*, expected a list of texts"),
        (set_in("labels", value=["half a pair: \ud800"]), r"labels\[0\] is"),
        (
            set_in("preprocessing", "mean", value=[0.5, 0.5]),
            "preprocessing.mean is .*, expected three numbers",
        ),
        (set_in("preprocessing", "std", value=[1, 0, 1]), "preprocessing.std must be above 0"),
        (set_in("preprocessing", "std", value=[1, float("nan"), 1]), "preprocessing.std is .*three numbers"),
        (set_in("preprocessing", "crop", value=True), "preprocessing.crop is True, expected a whole number"),
        (set_in("preprocessing", "crop", value=300), "preprocessing.resize is 256, smaller than crop, 300"),
        (set_in("preprocessing", "interpolation", value="nearest"), "bilinear or bicubic"),
        (set_in("weights", "sha256", value="abc"), "weights.sha256 is 'abc', expected 64 hexadecimal digits"),
        (set_in("torch_version", value="newest"), "torch_version is 'newest', expected a version"),
        (set_in("files", "torchscript-fp8", value=[]), "files.torchscript-fp8 is not a role"),
        (set_in("files", "xnnpack-fp16", value=[]), "files.xnnpack-fp16 lists 0 files, expected 2"),
        (set_in("files", "torchscript-fp16", 0, "name", value="../passwd"), "expected a plain file name"),
        (set_in("files", "torchscript-fp16", 0, "name", value="/etc/passwd"), "expected a plain file name"),
        (set_in("files", "torchscript-fp16", 0, "bytes", value=-1), "whole number of at least 0"),
        (set_in("files", "torchscript-fp16", 0, "sha256", value="0" * 64), "sha256 is not that of the files"),
        (set_in("sha256", value="0" * 64), "sha256 is not that of the files listed"),
    ],
)
def test_a_malformed_value_is_refused_with_its_key(
    model: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = document_of(model)
    change(document)
    (model / SIDECAR_NAME).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=message):
        read_sidecar(model)


def test_a_sidecar_of_a_newer_format_says_what_to_update(model: Path) -> None:
    (model / SIDECAR_NAME).write_text(json.dumps({"format": SIDECAR_FORMAT + 1, "unheard": "of"}))
    with pytest.raises(
        ArtifactError, match="format is 5, and this edge-agent reads up to 4: update edge-agent"
    ):
        read_sidecar(model)


def test_json_nested_beyond_all_measure_is_refused(model: Path) -> None:
    (model / SIDECAR_NAME).write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_sidecar(model)


def test_a_huge_file_is_not_read_as_a_sidecar(model: Path) -> None:
    with (model / SIDECAR_NAME).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ArtifactError, match="not a sidecar"):
        read_sidecar(model)


def test_a_directory_without_a_sidecar_says_how_to_make_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.json: cannot be read: .*edge-agent model build"):
        read_sidecar(tmp_path)


def test_a_whole_model_gives_its_files_in_order(model: Path) -> None:
    artifact = read_sidecar(model)
    assert open_role(artifact, "xnnpack-fp16") == (
        model / "xnnpack-fp16.plan.json",
        model / "xnnpack-fp16.weights",
    )


def test_the_files_of_all_roles_are_listed_by_their_names(model: Path) -> None:
    listed = read_sidecar(model).sidecar.listed
    assert {path.name for path in model.iterdir()} == listed.keys() | {SIDECAR_NAME}
    for name, entry in listed.items():
        assert entry == describe_file(model / name)


@pytest.mark.parametrize("offset", [0, 12_345, -1])
def test_a_damaged_artifact_is_refused_with_its_name(model: Path, offset: int) -> None:
    artifact = read_sidecar(model)
    content = bytearray((model / "xnnpack-fp16.weights").read_bytes())
    content[offset] ^= 1
    (model / "xnnpack-fp16.weights").write_bytes(content)
    assert open_role(artifact, "torchscript-fp16"), "another role is not concerned"
    with pytest.raises(ArtifactError, match=r"xnnpack-fp16\.weights: damaged: its sha256 is not the one"):
        open_role(artifact, "xnnpack-fp16")


def test_a_truncated_artifact_is_refused_with_both_sizes(model: Path) -> None:
    artifact = read_sidecar(model)
    (model / "torchscript-fp16.pt").write_bytes(b"short")
    with pytest.raises(ArtifactError, match=r"torchscript-fp16\.pt: damaged: it has 5 bytes, .* says 190000"):
        open_role(artifact, "torchscript-fp16")


def test_a_missing_file_is_named(model: Path) -> None:
    artifact = read_sidecar(model)
    (model / "torchscript-fp16.pt").unlink()
    with pytest.raises(ArtifactError, match=r"torchscript-fp16\.pt: cannot be read: No such file"):
        open_role(artifact, "torchscript-fp16")


def test_a_role_that_the_model_lacks_lists_those_it_has(model: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"no torchscript-fp32 files \(it has: torchscript-fp16, xnnpack-fp16"
    ):
        open_role(read_sidecar(model), "torchscript-fp32")


def test_a_model_that_was_not_lowered_says_why(model: Path) -> None:
    artifact = read_sidecar(model)
    sidecar = replace(artifact.sidecar, files={}, not_lowered="aten::erf in layer2")
    with pytest.raises(ArtifactError, match="could not be lowered: aten::erf in layer2"):
        open_role(replace(artifact, sidecar=sidecar), "xnnpack-fp16")


def test_models_are_told_apart_by_what_their_files_hold(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = read_sidecar(model).sidecar.files
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(model / "torchscript-fp16.pt", copy)
    same = describe_file(copy / "torchscript-fp16.pt")
    assert files_sha256(files | {"torchscript-fp16": (same,)}) == files_sha256(files)
    (copy / "torchscript-fp16.pt").write_bytes(b"other")
    other = describe_file(copy / "torchscript-fp16.pt")
    assert files_sha256(files | {"torchscript-fp16": (other,)}) != files_sha256(files)
    assert files_sha256({"xnnpack-fp16": files["xnnpack-fp16"]}) != files_sha256(files)


def test_a_file_is_hashed_as_sha256sum_does(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "module", ["edge_agent.model.sidecar", "edge_agent.commands.model", "edge_agent.inference.torchscript"]
)
def test_importing_it_does_not_load_torch(module: str) -> None:
    program = f"import {module}, sys; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": ["cat"]},
            "labels has one label, whose softmax is 1 for every picture.*--activation sigmoid",
        ),
        ({"labels": ["cat", "d\x1b]0;og"]}, r"labels\[1\] is .*none of them a control character"),
        ({"labels": ["cat", "\u202egod"]}, r"labels\[1\] is "),
        ({"labels": ["cat", "d" * 501]}, r"labels\[1\] is "),
        ({"name": "a\nb"}, "name is "),
        ({"arch": "\x9b2J"}, "arch is "),
        ({"not_lowered": "a\x07"}, "not_lowered is "),
        ({"torch_version": "2.1\x1b[2J"}, "torch_version is "),
        ({"activation": "tanh"}, "activation is 'tanh', expected softmax or sigmoid"),
    ],
)
def test_a_sidecar_with_texts_that_cannot_be_shown_or_answers_that_say_nothing_is_refused(
    model: Path, change: dict[str, Any], message: str
) -> None:
    (model / SIDECAR_NAME).write_text(json.dumps(document_of(model) | change))
    with pytest.raises(ArtifactError, match=rf"model\.json: {message}") as caught:
        read_sidecar(model)
    assert str(caught.value).isprintable()


def test_a_model_that_an_older_program_answers_rightly_with_stays_readable_for_it(model: Path) -> None:
    sidecar = read_sidecar(model).sidecar
    write_sidecar(model, sidecar)
    assert document_of(model)["format"] == 1
    write_sidecar(model, replace(sidecar, activation="sigmoid"))
    assert document_of(model)["format"] == 2
    write_sidecar(model, replace(sidecar, temperature=1.5))
    assert document_of(model)["format"] == 3
    assert read_sidecar(model).sidecar.temperature == 1.5
    write_sidecar(model, without_programs(sidecar))
    assert document_of(model)["format"] == 4


def test_without_its_torchscript_files_it_is_the_same_model_and_whole(model: Path) -> None:
    sidecar = read_sidecar(model).sidecar
    write_sidecar(model, without_programs(sidecar))
    (model / "torchscript-fp16.pt").unlink()
    artifact = read_sidecar(model)
    check_whole(artifact)
    assert artifact.sidecar.sha256 == sidecar.sha256
    assert artifact.sidecar.files.keys() == {"xnnpack-fp16"}
    assert without_programs(artifact.sidecar) == artifact.sidecar


def test_the_hash_of_what_was_left_out_cannot_stand_for_other_files(model: Path) -> None:
    document = document_of(model)
    (model / "xnnpack-fp16.weights").write_bytes(b"other")
    document["left_out"] = {"xnnpack-fp16": document["files"]["xnnpack-fp16"]}
    document["files"]["xnnpack-fp16"][1] = asdict(describe_file(model / "xnnpack-fp16.weights"))
    (model / SIDECAR_NAME).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"left_out\.xnnpack-fp16 is among the files, too"):
        read_sidecar(model)


def test_what_was_left_out_has_to_be_roles(model: Path) -> None:
    (model / SIDECAR_NAME).write_text(json.dumps(document_of(model) | {"left_out": {"run": []}}))
    with pytest.raises(ArtifactError, match="run is not a role"):
        read_sidecar(model)
