"""Archives written without torch: torch itself reads them, and computes what their plans do."""

from __future__ import annotations

import os
import pickletools
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed")

import torch

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import TorchScriptEngine, check_archive
from edge_agent.model.plan import (
    Activation,
    Arithmetic,
    Bounds,
    Concat,
    GlobalAveragePool,
    Plan,
    Pool2d,
    PoolKind,
    Precision,
)
from edge_agent.model.plan_file import decode_plan
from edge_agent.model.sidecar import (
    Artifact,
    ArtifactFile,
    describe_file,
    files_sha256,
    read_sidecar,
    write_sidecar,
)
from edge_agent.tools.builder.archive_writer.write import write_archive
from edge_agent.tools.builder.lowering.lower import lower
from edge_agent.tools.builder.reference import evaluate
from edge_agent.tools.builder.script import InputShape, freeze, load, probe
from tests.model.plans import RandomPlan, constants_of, picture_for, plans, small_plan
from tests.tools.builder.lowering.test_lower import CASES
from tests.tools.builder.networks import network

Array = NDArray[np.float32]

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
SHAPE: InputShape = (1, 64, 64, 3)
NAMES = (
    "resnet18",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "efficientnet_lite0",
    "squeezenet1_0",
    "googlenet",
    "densenet121",
)
SMALLEST_HALF = 1024


def lowered(
    module: torch.jit.ScriptModule, shape: InputShape, directory: Path
) -> tuple[Plan, dict[int, Array]]:
    lower(module, input_shape=shape, directory=directory, precisions=("fp32",))
    return read(directory)


def read(directory: Path) -> tuple[Plan, dict[int, Array]]:
    plan = decode_plan((directory / "xnnpack-fp32.plan.json").read_bytes())
    return plan, constants_of(plan, (directory / "xnnpack-fp32.weights").read_bytes())


def rounded(constants: Mapping[int, Array]) -> dict[int, Array]:
    """The same constants, those that are stored as FP16 rounded to it."""
    return {
        number: values.astype(np.float16).astype(np.float32)
        if values.ndim > 1 and values.size >= SMALLEST_HALF
        else values
        for number, values in constants.items()
    }


def answer(path: Path, picture: torch.Tensor) -> Array:
    with torch.inference_mode():
        logits: Array = load(path).eval()(picture).numpy()
    return logits


def torch_picture(picture: Array) -> torch.Tensor:
    return torch.from_numpy(picture).permute(0, 3, 1, 2)


def defined(plan: Plan, blob: bytes, picture: Array) -> tuple[NDArray[np.float64], float]:
    """What a plan makes of a picture, in torch's order, and the largest value on the way."""
    result = evaluate(plan, blob, picture)
    shaped = result.output.reshape(plan.tensors[plan.output].shape)
    return np.moveaxis(shaped, -1, 1).reshape(1, -1), result.largest


def code_of(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("archive/code/__torch__.py").decode()


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
@pytest.mark.parametrize("name", NAMES)
def test_a_network_answers_as_torchs_own_module_does(name: str, tmp_path: Path) -> None:
    frozen = freeze(network(name), SHAPE)
    plan, constants = lowered(frozen, SHAPE, tmp_path)
    picture = probe(SHAPE, 1)
    with torch.inference_mode():
        expected = frozen(picture).numpy()
    write_archive(tmp_path / "whole.pt", plan, constants, "fp32")
    found = answer(tmp_path / "whole.pt", picture)
    assert found.shape == expected.shape == (1, 1000)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * largest)

    # FP16 is FP32 of rounded weights: by how much these change the logits is the network's affair.
    write_archive(tmp_path / "half.pt", plan, constants, "fp16")
    write_archive(tmp_path / "rounded.pt", plan, rounded(constants), "fp32")
    half, same = (answer(tmp_path / file, picture) for file in ("half.pt", "rounded.pt"))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, same, rtol=0, atol=1e-4 * largest)
    sizes = [(tmp_path / file).stat().st_size for file in ("half.pt", "whole.pt")]
    assert 0.49 < sizes[0] / sizes[1] < 0.53


@pytest.mark.parametrize("case", CASES)
def test_a_small_network_answers_as_it_does_before_it_is_lowered(case: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    module, shape = CASES[case]().eval(), (1, 12, 9, 3)
    plan, constants = lowered(freeze(module, shape), shape, tmp_path)
    picture = torch.randn(1, 3, 12, 9)
    with torch.no_grad():
        expected = module(picture).flatten(1).numpy()
    write_archive(tmp_path / "module.pt", plan, constants, "fp32")
    for memory_format in (torch.channels_last, torch.contiguous_format):
        found = answer(tmp_path / "module.pt", picture.contiguous(memory_format=memory_format))
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=plans())
def test_any_plan_is_computed_as_it_is_defined(made: tuple[Plan, bytes], tmp_path: Path) -> None:
    plan, blob = made
    picture = picture_for(plan)
    write_archive(tmp_path / "plan.pt", plan, constants_of(plan, blob), plan.precision)
    expected, largest = defined(plan, blob, picture)
    before = picture.copy()
    found = answer(tmp_path / "plan.pt", torch_picture(picture))
    assert np.array_equal(picture, before), "the input is never overwritten"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, largest))


@pytest.mark.parametrize("kind", ["max", "average"])
def test_every_pooling_has_the_windows_of_its_plan(kind: PoolKind, tmp_path: Path) -> None:
    builder = RandomPlan((1, 7, 5, 2))
    means = []
    for kernel in range(1, 5):
        for stride, before, after in product(range(1, kernel + 1), range(kernel), range(kernel)):
            window = ((kernel, 2), (stride, 1), (before, 0, after, 0))
            pooled = builder.add(Pool2d("pool", kind, 0, 0, *window))
            means.append(builder.add(GlobalAveragePool("mean", pooled, 0)))
    plan, blob = builder.build(builder.add(Concat("all", tuple(means), 0)))
    write_archive(tmp_path / "plan.pt", plan, constants_of(plan, blob), "fp32")
    code, picture = code_of(tmp_path / "plan.pt"), picture_for(plan)
    assert "torch.pad(" in code
    assert "[1, 1], True)" in code or "True, False)" in code, "some round up"
    found = answer(tmp_path / "plan.pt", torch_picture(picture))
    np.testing.assert_allclose(found, defined(plan, blob, picture)[0], atol=1e-5)


def test_what_is_still_to_be_read_is_not_overwritten(tmp_path: Path) -> None:
    builder = RandomPlan((1, 4, 4, 3))
    first = builder.conv2d(0, 3)
    clamped = builder.add(Activation("clamp", "clamp", first, 0, Bounds(low=0.0)))
    gate = builder.add(Activation("gate", "sigmoid", first, 0))
    swish = builder.add(Arithmetic("swish", "multiply", gate, first, 0))
    total = builder.add(Arithmetic("sum", "add", swish, clamped, 0))
    plan, blob = builder.build(builder.add(Arithmetic("all", "add", total, first, 0)))
    write_archive(tmp_path / "plan.pt", plan, constants_of(plan, blob), "fp32")
    assert "torch.silu(" in code_of(tmp_path / "plan.pt")
    assert "torch.sigmoid" not in code_of(tmp_path / "plan.pt")
    picture = picture_for(plan)
    found = answer(tmp_path / "plan.pt", torch_picture(picture))
    np.testing.assert_allclose(found, defined(plan, blob, picture)[0], atol=1e-5)


def test_a_gate_that_is_read_elsewhere_too_stays_one(tmp_path: Path) -> None:
    builder = RandomPlan((1, 4, 4, 3))
    first = builder.conv2d(0, 3)
    gate = builder.add(Activation("gate", "sigmoid", first, 0))
    swish = builder.add(Arithmetic("swish", "multiply", first, gate, 0))
    plan, blob = builder.build(builder.add(Arithmetic("sum", "add", swish, gate, 0)))
    write_archive(tmp_path / "plan.pt", plan, constants_of(plan, blob), "fp32")
    assert "torch.silu" not in code_of(tmp_path / "plan.pt")
    picture = picture_for(plan)
    found = answer(tmp_path / "plan.pt", torch_picture(picture))
    np.testing.assert_allclose(found, defined(plan, blob, picture)[0], atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_engine_takes_it_as_it_takes_what_torch_wrote(
    lite0: Artifact, tmp_path: Path, precision: Precision
) -> None:
    plan, constants = read(lite0.directory)
    path = tmp_path / f"torchscript-{precision}.pt"
    write_archive(path, plan, constants, precision)
    check_archive(path)
    files: dict[str, tuple[ArtifactFile, ...]] = {f"torchscript-{precision}": (describe_file(path),)}
    write_sidecar(tmp_path, replace(lite0.sidecar, files=files, sha256=files_sha256(files)))
    picture = np.random.default_rng(3).standard_normal((1, 224, 224, 3)).astype(np.float32)
    expected = TorchScriptEngine.load(lite0, "fp32", threads=1).run(picture)
    found = TorchScriptEngine.load(read_sidecar(tmp_path), precision, threads=1).run(picture)
    tolerance = {"fp32": 1e-4, "fp16": 2e-2}[precision]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def large(precision: Precision, path: Path, *, extreme: float = 1.0) -> tuple[Plan, bytes]:
    """Write a network with a weight that is large enough for slices, and one that is too small for FP16."""
    builder = RandomPlan((1, 8, 8, 3))
    stem = builder.conv2d(0, 300, (1, 1))
    wide = builder.conv2d(stem, 250, padding=(1, 1, 1, 1), bounds=Bounds(0.0, 6.0))
    grouped = builder.conv2d(wide, 500, groups=2)
    plan, blob = builder.build(builder.linear(grouped, 37))
    constants = constants_of(plan, blob)
    constants[plan.operations[1].filter][7, 1, 1, 3] = extreme  # type: ignore[union-attr]
    write_archive(path, plan, constants, precision)
    return plan, blob


def test_a_large_weight_is_halved_in_slices_and_converted_where_it_is_used(tmp_path: Path) -> None:
    large("fp16", tmp_path / "half.pt")
    module: Any = load(tmp_path / "half.pt")
    attributes = {node.s("name"): node for node in module.graph.nodes() if node.kind() == "prim::GetAttr"}
    halves = {name for name in attributes if getattr(module, name).dtype == torch.float16}
    slices = [getattr(module, name) for name in sorted(halves) if name.startswith("conv1_weight")]
    assert sum(part.shape[0] for part in slices) == 250
    assert len(slices) > 1
    assert all(part.numel() <= 300_000 for part in slices)
    assert {name for name in halves if name.startswith("conv2_weight")} == {"conv2_weight"}, "it has groups"
    assert "conv0_weight" not in halves, "it is too small to be worth it"
    for name in halves:
        (use,) = attributes[name].output().uses()
        assert use.user.kind() == "aten::to"
    assert all(getattr(module, name).dtype == torch.float32 for name in attributes if "bias" in name)


def test_running_it_does_not_turn_weights_into_fp32_constants(tmp_path: Path) -> None:
    plan, _ = large("fp16", tmp_path / "half.pt")
    module = load(tmp_path / "half.pt").eval()
    with torch.inference_mode():
        for _ in range(4):  # torch optimises the graph after the first two
            module(torch_picture(picture_for(plan)))
    executed: Any = torch.jit.last_executed_optimized_graph()  # type: ignore[attr-defined]
    written = code_of(tmp_path / "half.pt").count("torch.to(")
    assert len(executed.findAllNodes("aten::to")) == written > 0


def test_a_weight_beyond_the_range_of_fp16_stays_fp32(tmp_path: Path) -> None:
    for extreme, dtype in ((65519.0, torch.float16), (65520.0, torch.float32), (np.nan, torch.float32)):
        large("fp16", tmp_path / "half.pt", extreme=extreme)
        module: Any = load(tmp_path / "half.pt")
        assert module.conv1_weight.dtype == dtype
        assert module.conv2_weight.dtype == torch.float16


def test_convolutions_have_their_channels_last_in_memory(tmp_path: Path) -> None:
    for precision in PRECISIONS:
        large(precision, tmp_path / "module.pt")
        module: Any = load(tmp_path / "module.pt")
        assert module.conv1_weight.is_contiguous(memory_format=torch.channels_last)
        assert not module.training


def test_a_zip_like_those_that_torch_writes(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    plan, blob = small_plan()
    write_archive(path, plan, constants_of(plan, blob), "fp32")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        entries = {entry.filename.removeprefix("archive/"): entry for entry in archive.infolist()}
        assert {"data.pkl", "constants.pkl", "code/__torch__.py", "version", "byteorder", "data/0"} <= set(
            entries
        )
        assert archive.read("archive/version") == b"3\n"
        assert archive.read("archive/byteorder") == b"little"
        for name in ("data.pkl", "constants.pkl"):
            pickletools.dis(
                archive.read(f"archive/{name}"), StringIO()
            )  # raises an error for what is no pickle
    for name, entry in entries.items():
        assert entry.compress_type == zipfile.ZIP_STORED
        assert (entry.flag_bits, entry.create_system, entry.date_time[:3]) == (0, 0, (1980, 1, 1))
        header = content[entry.header_offset :][:30]
        data = (
            entry.header_offset + 30 + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        )
        assert data % 64 == 0, name
    reader: Any = torch._C.PyTorchFileReader(str(path))
    assert (
        reader.get_record("data/0")
        == content[reader.get_record_offset("data/0") :][: entries["data/0"].file_size]
    )


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from edge_agent.tools.builder.archive_writer.write import write_archive
from tests.model.plans import constants_of, small_plan
plan, blob = small_plan()
for precision in ("fp32", "fp16"):
    write_archive(Path(sys.argv[1]) / f"{precision}.pt", plan, constants_of(plan, blob), precision)
"""


def test_the_same_network_gives_the_same_bytes_in_any_process_and_without_torch(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)], check=True, env=environment)
    plan, blob = small_plan()
    for precision in PRECISIONS:
        write_archive(tmp_path / "here.pt", plan, constants_of(plan, blob), precision)
        assert (tmp_path / "here.pt").read_bytes() == (tmp_path / f"{precision}.pt").read_bytes()
        assert answer(tmp_path / "here.pt", torch_picture(picture_for(plan))).shape == (1, 5)


NAMES_OF_MODULES = [
    "",
    "0",
    "class",
    "self",
    "training",
    "__class__",
    "a b\n    import os\n    ",
    'x": Tensor\n  def evil(self): ...#',
    "größe.Схема.0",
    "_",
    "a" * 500,
    "same",
    "same",
    "same_weight",
    "same.weight",
]


def test_no_name_of_a_module_gets_into_the_code_as_it_is(tmp_path: Path) -> None:
    builder = RandomPlan((1, 4, 4, 3))
    value = 0
    for _ in NAMES_OF_MODULES:
        value = builder.conv2d(value, 3, (1, 1))
    plan, blob = builder.build(value)
    named = [
        replace(operation, name=name)
        for operation, name in zip(plan.operations, NAMES_OF_MODULES, strict=True)
    ]
    write_archive(
        tmp_path / "odd.pt", replace(plan, operations=tuple(named)), constants_of(plan, blob), "fp32"
    )
    write_archive(tmp_path / "plain.pt", plan, constants_of(plan, blob), "fp32")
    picture = torch_picture(picture_for(plan))
    assert np.array_equal(answer(tmp_path / "odd.pt", picture), answer(tmp_path / "plain.pt", picture))
    code = code_of(tmp_path / "odd.pt")
    assert code.isascii()
    assert "evil(" not in code
    assert "import" not in code.replace("_import_", "")


def test_a_full_disk_is_reported_with_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    path.write_bytes(b"the old one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 100, 5000, 400_000, 2_000_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(ModelError, match=r"module\.pt: cannot be written: File too large"):
                large("fp16", path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b"the old one"
        assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    plan, blob = small_plan()
    with pytest.raises(ModelError, match=r"nowhere/module\.pt: cannot be written: No such file"):
        write_archive(tmp_path / "nowhere" / "module.pt", plan, constants_of(plan, blob), "fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_not_copied_as_a_whole(tmp_path: Path, precision: Precision) -> None:
    builder = RandomPlan((1, 32, 32, 16))
    plan, blob = builder.build(builder.linear(0, 500))  # 33 MB, in another order than it is written in
    constants = constants_of(plan, blob)
    tracemalloc.start()
    try:
        write_archive(tmp_path / "module.pt", plan, constants, precision)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000
