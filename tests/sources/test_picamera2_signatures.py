"""Holds the fake picamera2 to the real package, whose source is read without importing it."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator

import pytest

from tests.sources import fake_picamera2

CALLED = (
    "__init__", "global_camera_info", "camera_properties", "camera_controls", "create_video_configuration",
    "configure", "camera_configuration", "set_controls", "start", "capture_arrays", "cancel_all_and_flush",
    "stop_preview", "stop", "close",
)  # fmt: skip
ATTRIBUTES = {"is_open", "notifyme_w", "notifymeread"}


def picamera2_class(source: str) -> ast.ClassDef:
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return next(node for node in classes if node.name == "Picamera2")


@pytest.fixture(scope="module")
def real() -> Iterator[zipfile.ZipFile]:
    wheel = fake_picamera2.real_package()
    if wheel is None:
        pytest.skip("there is no picamera2 wheel in .cache (`pip download --no-deps -d .cache picamera2`)")
    with zipfile.ZipFile(wheel) as package:
        yield package


@pytest.fixture(scope="module")
def real_class(real: zipfile.ZipFile) -> ast.ClassDef:
    return picamera2_class(real.read("picamera2/picamera2.py").decode())


@pytest.fixture(scope="module")
def fake_class() -> ast.ClassDef:
    assert fake_picamera2.__file__ is not None
    with open(fake_picamera2.__file__, encoding="utf-8") as file:  # noqa: PTH123
        return picamera2_class(file.read())


def method(of: ast.ClassDef, name: str) -> ast.FunctionDef:
    """The method itself: the last of its name, after its overloads and before any setter."""
    found = [node for node in of.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return next(
        node for node in reversed(found) if not set(decorators(node)) & {"overload", f"{name}.setter"}
    )


def decorators(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(decorator) for decorator in function.decorator_list]


def signature(function: ast.FunctionDef) -> list[str]:
    """`name` or `name=default` of each parameter, without its type."""
    arguments = function.args
    special = [arguments.posonlyargs, arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    assert not any(special)
    required = len(arguments.args) - len(arguments.defaults)
    defaults = [""] * required + ["=" + ast.unparse(default) for default in arguments.defaults]
    return [argument.arg + default for argument, default in zip(arguments.args, defaults, strict=True)]


@pytest.mark.parametrize("name", CALLED)
def test_the_fake_has_the_signature_of_the_real_one(
    real_class: ast.ClassDef, fake_class: ast.ClassDef, name: str
) -> None:
    # A default that the fake cannot name without libcamera is a string there.
    faked = [parameter.replace("'libcamera.Transform()'", "libcamera.Transform()") for parameter in
             signature(method(fake_class, name))]  # fmt: skip
    assert faked == signature(method(real_class, name))
    assert decorators(method(fake_class, name)) == decorators(method(real_class, name))


def test_the_agent_calls_nothing_that_was_not_compared() -> None:
    from edge_agent.sources import picamera2

    assert picamera2.__file__ is not None
    with open(picamera2.__file__, encoding="utf-8") as file:  # noqa: PTH123
        tree = ast.parse(file.read())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("camera", "self._camera", "Picamera2")
    }
    assert used - ATTRIBUTES - {"__new__"} == set(CALLED)


def test_the_real_one_has_the_attributes_that_are_looked_at(real_class: ast.ClassDef) -> None:
    assigned = {
        ast.unparse(node)
        for node in ast.walk(method(real_class, "__init__"))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert {f"self.{name}" for name in ATTRIBUTES} <= assigned


def test_the_real_one_knows_the_formats_that_are_asked_for_and_understood(real: zipfile.ZipFile) -> None:
    formats = real.read("picamera2/formats.py").decode()
    for name in ("YUV420", "YVU420", "NV12", "NV21", "RGB888", "BGR888", "XBGR8888", "XRGB8888"):
        assert f'"{name}"' in formats


def test_a_capture_of_the_real_one_can_time_out(real: zipfile.ZipFile) -> None:
    job = real.read("picamera2/job.py").decode()
    assert "def get_result(self, timeout" in job
    assert "self._future.result(timeout=timeout)" in job


def test_the_real_one_says_with_an_array_what_was_cropped(real: zipfile.ZipFile) -> None:
    """A rectangle is a tuple in `metadata` and `camera_controls`, and may be one in `set_controls`."""
    camera = real.read("picamera2/picamera2.py").decode()
    assert "request.make_array(name) for name in names], request.get_metadata())" in camera
    assert "_, scaler_crop_max, _ = self.camera_controls['ScalerCrop']" in camera
    assert 'self.set_controls({"ScalerCrops": scaler_crops})' in camera
    assert "value = value.to_tuple()" in real.read("picamera2/utils.py").decode()
    assert "v = Rectangle(*v)" in real.read("picamera2/controls.py").decode()
