"""`edge-agent model`: what a user and a script see."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import edge_agent.tools.demo
from edge_agent.cli import main
from edge_agent.inference import EngineInfo
from edge_agent.inference.choice import load_engine
from edge_agent.model.sidecar import Artifact, files_sha256, read_sidecar, write_sidecar
from edge_agent.tools.builder.verify import LogitAgreement, VerifyReport
from tests.installed import needs_native, needs_torch
from tests.model.plans import RandomPlan, save


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    bundled = Path(edge_agent.tools.demo.__file__).parent / "pictures"
    (tmp_path / "pictures").mkdir()
    shutil.copy(bundled / "cat.jpg", tmp_path / "pictures")
    return tmp_path / "pictures"


@needs_torch
def test_build_prints_progress_aside_and_the_sidecar_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    assert main(["model", "build", "--arch", "efficientnet_lite0", "--output", str(output), "--json"]) == 0
    printed = capsys.readouterr()
    sidecar = json.loads(printed.out)
    assert sidecar == json.loads((output / "model.json").read_text())
    assert sidecar["arch"] == "efficientnet_lite0"
    assert "torchscript-fp16.pt" in printed.err


@needs_torch
def test_a_wrong_name_ends_with_one_line_that_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "model")
    code = main(["model", "build", "--arch", "efficientnet_lite0", "--weights", "no.pth", "--output", output])
    assert code == 1
    assert capsys.readouterr().err == "edge-agent model: no.pth: cannot be read: No such file or directory\n"
    assert not (tmp_path / "model").exists()


def test_info_shows_what_the_model_is(lite0: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "info", str(lite0.directory)]) == 0
    shown = capsys.readouterr().out
    for part in (
        "efficientnet_lite0",
        "224 x 224",
        "1000: tench",
        lite0.sidecar.sha256,
        "torchscript-fp16.pt",
        "can be taught     yes, on 1280 features",
    ):
        assert part in shown


def test_info_says_why_a_network_cannot_be_taught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = RandomPlan((1, 8, 8, 3))
    artifact = save(*builder.build(builder.conv2d(0, 2, (8, 8))), tmp_path)
    write_sidecar(tmp_path, replace(artifact.sidecar, labels=("cat", "dog"), torch_version="2.9.1"))
    assert main(["model", "info", str(tmp_path)]) == 0
    assert "no: it ends in conv2d of 'conv0', not in a fully connected layer\n" in capsys.readouterr().out
    assert main(["model", "info", "--json", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == 0


def test_info_says_what_is_not_known_without_a_plan(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {role: files for role, files in lite0.sidecar.files.items() if role.startswith("torchscript")}
    for (file,) in files.values():
        shutil.copy(lite0.directory / file.name, tmp_path)
    write_sidecar(tmp_path, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    assert main(["model", "info", str(tmp_path)]) == 0
    assert "can be taught     not known: it has no plan" in capsys.readouterr().out


def test_a_model_from_a_bundle_is_described_and_verified_without_its_torchscript_files(
    lite0: Artifact, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, model = tmp_path / "lite0.tar", tmp_path / "model"
    assert main(["model", "bundle", str(lite0.directory), "--output", str(made)]) == 0
    assert f"lite0.tar: {made.stat().st_size / 1e6:.1f} MB\n" in capsys.readouterr().out
    shutil.unpack_archive(made, model, filter="data")
    assert main(["model", "info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "left out          torchscript-fp16, torchscript-fp32: the model came in a bundle\n" in shown
    assert lite0.sidecar.sha256 in shown
    assert "torchscript for" not in shown
    assert main(["model", "verify", str(model), "--images", str(pictures)]) == 0
    assert "torchscript  fp32     not run: the model has no files for it\n" in capsys.readouterr().out


def test_info_reports_damage_and_fails(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in lite0.directory.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "xnnpack-fp16.weights").unlink()
    assert main(["model", "info", "--json", str(tmp_path)]) == 1
    (damage,) = json.loads(capsys.readouterr().out)["damage"]
    assert "xnnpack-fp16.weights: cannot be read" in damage
    assert main(["model", "info", str(tmp_path)]) == 1
    assert "xnnpack-fp16.weights: cannot be read" in capsys.readouterr().err


def test_info_of_no_model_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "info", str(tmp_path)]) == 1
    assert "edge-agent model build" in capsys.readouterr().err


def test_verify_prints_a_table(lite0: Artifact, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "verify", str(lite0.directory), "--images", str(pictures)]) == 0
    shown = capsys.readouterr().out
    assert "on 1 pictures, compared with eager FP32 efficientnet_lite0" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith("torchscript")]
    assert [row[:5] for row in rows] == [
        ["torchscript", "fp16", "fp32", "100.00%", "100.00%"],
        ["torchscript", "fp32", "fp32", "100.00%", "100.00%"],
    ]


def test_verify_gives_scripts_numbers(
    lite0: Artifact, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "verify", str(lite0.directory), "--images", str(pictures), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sha256"] == lite0.sidecar.sha256
    fp32 = next(row for row in report["agreements"] if row["info"]["precision"] == "fp32")
    assert fp32["top1_agreement"] == 1
    assert 0 < fp32["max_logit_error"] < 1e-3


def test_verify_fails_where_too_few_pictures_agree(
    lite0: Artifact, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = EngineInfo("torchscript", "fp16", "fp32", 1, "torch")
    rows = (LogitAgreement(info, 200, 0.985, 0.9, 0.1, 0.1),)
    report = VerifyReport("model", "0" * 64, "eager FP32", 200, rows, ())
    monkeypatch.setattr("edge_agent.tools.builder.verify.verify", lambda *_args, **_options: report)
    arguments = ["model", "verify", str(lite0.directory), "--images", str(pictures)]
    assert main(arguments) == 1
    assert "agreement of 98.50% is less than the 99.00% asked for" in capsys.readouterr().err
    assert main([*arguments, "--min-agreement", "0.98"]) == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--min-agreement", "99"], "--min-agreement must be a share from 0 to 1"),
        (["--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_verify_refuses_invalid_options(
    lite0: Artifact, pictures: Path, capsys: pytest.CaptureFixture[str], option: list[str], message: str
) -> None:
    assert main(["model", "verify", str(lite0.directory), "--images", str(pictures), *option]) == 2
    assert message in capsys.readouterr().err


def test_what_a_model_says_of_itself_is_escaped_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = {"format": 1, "name": "a\x1b]0;pwned\x07", "labels": ["c\x1b[2Jat", "dog"]}
    (tmp_path / "model.json").write_text(json.dumps(hostile))
    assert main(["model", "info", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


@needs_torch
def test_build_keeps_what_was_said_of_the_pictures_and_says_what_it_assumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(1)
    torch.save(
        package.EfficientNet.from_name("efficientnet-lite0", num_classes=2).state_dict(), tmp_path / "w.pth"
    )
    (tmp_path / "labels.csv").write_text("index,label\n1,good\n0,bad\n")
    output = str(tmp_path / "model")
    command = ["model", "build", "--arch", "efficientnet_lite0", "--weights", str(tmp_path / "w.pth")]
    options = [
        "--labels",
        str(tmp_path / "labels.csv"),
        "--output",
        output,
        "--size",
        "96",
        "--squash",
        "--grey",
    ]
    assert main([*command, *options, "--std", "0.25"]) == 0
    assert (
        "assumed of the pictures, as for ImageNet weights: --mean 0.498 0.498 0.498\n"
        in capsys.readouterr().err
    )
    assert main(["model", "info", output]) == 0
    shown = capsys.readouterr().out
    assert "96 x 96 pixels, cut from 96 x 96, squashed, grey" in shown
    assert "std 0.25 0.25 0.25" in shown
    assert "2: bad, good" in shown


@needs_native
def test_pack_makes_the_file_that_the_native_engine_looks_for(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(lite0.directory, copy, ignore=shutil.ignore_patterns("*.packed"))
    assert main(["model", "pack", str(copy)]) == 0
    (packed,) = copy.glob("native-fp16-*.packed")
    assert str(packed) in capsys.readouterr().out
    written = packed.stat().st_mtime_ns
    load_engine(read_sidecar(copy), "native", "fp16", threads=1).close()
    assert packed.stat().st_mtime_ns == written


@needs_native
def test_pack_of_a_model_without_a_plan_says_so(
    lite0: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {role: found for role, found in lite0.sidecar.files.items() if "torchscript" in role}
    write_sidecar(tmp_path, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    assert main(["model", "pack", str(tmp_path)]) != 0
    assert "has no xnnpack-fp16 files" in capsys.readouterr().err
