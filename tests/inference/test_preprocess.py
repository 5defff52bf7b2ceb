"""Preprocessing against torchvision's own transform, and at its edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_agent.inference.preprocess import Preprocessor, source_box
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools.demo.bundled import BUNDLED_PICTURES

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Preprocessing(resize=256, crop=224, mean=MEAN, std=STD)
ONE_LEVEL = 1 / 255 / min(STD)
"""The largest value that one of the 256 levels of a pixel has after normalisation."""

Transform = Callable[[Image.Image], NDArray[np.float32]]


def torchvision_transform(preprocessing: Preprocessing) -> Transform:
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")
    interpolation = transforms.InterpolationMode(preprocessing.interpolation)
    composed = transforms.Compose(
        [
            transforms.Resize(preprocessing.resize, interpolation=interpolation),
            transforms.CenterCrop(preprocessing.crop),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )

    def transform(picture: Image.Image) -> NDArray[np.float32]:
        tensor: Any = composed(picture)
        return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())[np.newaxis]

    return transform


def picture_of_noise(width: int, height: int) -> NDArray[np.uint8]:
    """Blobs and noise: smooth parts, and edges that a wrong filter or offset would move."""
    random = np.random.default_rng(width * 10007 + height)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + random.integers(-20, 21, smooth.shape)
    return np.asarray(noisy.clip(0, 255), np.uint8)


@pytest.mark.parametrize("picture", BUNDLED_PICTURES, ids=lambda picture: str(picture.name))
def test_bundled_pictures_become_what_torchvision_makes_of_them(picture: Any) -> None:
    image = Image.open(picture.path).convert("RGB")
    expected = torchvision_transform(IMAGENET)(image)
    difference = np.abs(Preprocessor(IMAGENET)(np.asarray(image)) - expected)
    # Pillow rounds to whole levels between its two passes, whose order may differ: a level, and rarely.
    assert difference.max() <= ONE_LEVEL * 1.01
    assert difference.mean() <= ONE_LEVEL * 0.1


@pytest.mark.parametrize(
    ("width", "height"),
    [(640, 480), (480, 640), (1920, 1080), (333, 500), (256, 256), (224, 224), (255, 1000), (97, 61), (3, 2)],
)
def test_pictures_of_any_size_become_what_torchvision_makes_of_them(width: int, height: int) -> None:
    pixels = picture_of_noise(width, height)
    expected = torchvision_transform(IMAGENET)(Image.fromarray(pixels))
    difference = np.abs(Preprocessor(IMAGENET)(pixels) - expected)
    assert difference.max() <= ONE_LEVEL * 1.01


@pytest.mark.parametrize(("resize", "crop"), [(232, 224), (224, 224), (236, 224), (480, 480), (300, 299)])
def test_other_sizes_and_bicubic_become_what_torchvision_makes_of_them(resize: int, crop: int) -> None:
    preprocessing = Preprocessing(resize, crop, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    pixels = picture_of_noise(500, 333)
    expected = torchvision_transform(preprocessing)(Image.fromarray(pixels))
    difference = np.abs(Preprocessor(preprocessing)(pixels) - expected)
    assert difference.mean() <= 0.1 / 255 / 0.5
    # Bicubic overshoots, and what is clipped between the two passes depends on their order.
    assert difference.max() <= 12 / 255 / 0.5


def test_a_plain_colour_is_normalised_by_the_formula() -> None:
    pixels = np.full((300, 400, 3), (255, 0, 128), np.uint8)
    tensor = Preprocessor(IMAGENET)(pixels)
    expected = (np.array([255, 0, 128]) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(tensor, np.broadcast_to(expected, tensor.shape), atol=1e-6)


def test_the_tensor_is_contiguous_nhwc_float32_in_one_reused_buffer() -> None:
    preprocessor = Preprocessor(IMAGENET)
    first = preprocessor(picture_of_noise(320, 240))
    assert first.shape == (1, 224, 224, 3)
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert np.shares_memory(first, preprocessor(picture_of_noise(64, 48)))


def test_the_picture_is_not_written_to() -> None:
    pixels = picture_of_noise(320, 240)
    pixels.setflags(write=False)
    Preprocessor(IMAGENET)(pixels)


def test_a_picture_that_is_a_view_with_strides_is_read_right() -> None:
    pixels = picture_of_noise(320, 240)
    flipped = pixels[::-1, ::-1]
    expected = Preprocessor(IMAGENET)(np.ascontiguousarray(flipped))
    np.testing.assert_array_equal(Preprocessor(IMAGENET)(flipped), expected)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 3000), (5000, 1), (2, 1), (223, 7)])
def test_tiny_and_extreme_pictures_give_finite_numbers_within_range(width: int, height: int) -> None:
    tensor = Preprocessor(IMAGENET)(picture_of_noise(width, height))
    assert np.isfinite(tensor).all()
    assert tensor.min() >= (0 - max(MEAN)) / min(STD)
    assert tensor.max() <= (1 - min(MEAN)) / min(STD)


sides = st.integers(1, 6000)


@given(width=sides, height=sides, crop=st.integers(1, 512), margin=st.integers(0, 128))
@settings(deadline=None)
def test_the_box_lies_inside_the_picture_and_in_its_middle(
    width: int, height: int, crop: int, margin: int
) -> None:
    resize = crop + margin
    box = source_box(width, height, resize, crop)
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height
    # Off the middle by no more than the rounding of one side and one corner, in resized pixels.
    pixel = min(width, height) / resize
    assert abs((box.left + box.right) - width) <= 2 * pixel
    assert abs((box.top + box.bottom) - height) <= 2 * pixel


@given(width=st.integers(1, 600), height=st.integers(1, 600))
@settings(deadline=None, max_examples=25)
def test_every_size_is_accepted_by_pillow(width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 77, np.uint8)
    tensor = Preprocessor(IMAGENET)(pixels)
    np.testing.assert_allclose(tensor[0, :, :, 0], (77 / 255 - MEAN[0]) / STD[0], atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (333, 500), (97, 61), (224, 224)])
@pytest.mark.parametrize(("resize", "crop"), [(224, 224), (256, 224), (96, 96)])
@pytest.mark.parametrize("grey", [False, True])
def test_squashed_and_grey_pictures_become_what_torchvision_makes_of_them(
    width: int, height: int, resize: int, crop: int, *, grey: bool
) -> None:
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")
    steps = [transforms.Resize((resize, resize)), transforms.CenterCrop(crop)]
    steps += [transforms.Grayscale(3)] if grey else []
    steps += [transforms.ToTensor(), transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))]
    pixels = picture_of_noise(width, height)
    tensor: Any = transforms.Compose(steps)(Image.fromarray(pixels))
    wanted = Preprocessing(resize, crop, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), squash=True, grey=grey)
    difference = np.abs(Preprocessor(wanted)(pixels)[0] - tensor.permute(1, 2, 0).numpy())
    assert difference.max() <= 1.01 / 255 / 0.2


def test_a_grey_picture_keeps_the_crop_of_a_colourful_one() -> None:
    pixels = picture_of_noise(320, 240)
    grey = Preprocessor(Preprocessing(256, 224, (0.0,) * 3, (1.0,) * 3, grey=True))(pixels)
    colours = Preprocessor(Preprocessing(256, 224, (0.0,) * 3, (1.0,) * 3))(pixels)
    assert (grey[0] == grey[0, :, :, :1]).all()
    np.testing.assert_allclose(grey[0, :, :, 0], colours[0] @ [0.299, 0.587, 0.114], atol=1.01 / 255)
