"""How a network wants its pictures, where that is not as for its architecture's ImageNet weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import LARGEST_CROP, Preprocessing, Rgb

_LARGEST_STD = 10.0


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What was said about the pictures that a network was trained on; None for what was not."""

    size: int | None = None
    """Side of the square that the network takes, in pixels."""
    resize: int | None = None
    """What the shorter side is resized to before the centre is cut out, or both sides where squashed."""
    mean: tuple[float, ...] | None = None
    """Of pixels from 0 to 1: three numbers, or one for all channels."""
    std: tuple[float, ...] | None = None
    squash: bool = False
    grey: bool = False

    @classmethod
    def from_preprocessing(cls, known: Preprocessing) -> InputOptions:
        """Everything as it is known of a built model."""
        return cls(known.crop, known.resize, known.mean, known.std, known.squash, known.grey)

    def applied_to(self, usual: Preprocessing, *, has_one_channel: bool) -> Preprocessing:
        """Return the preprocessing, with the `usual` one for what was not said.

        Raises ModelError for numbers that make no sense, or where a network of one channel leaves too much
        open.
        """
        if has_one_channel and (self.mean is None or self.std is None):
            raise ModelError(
                "the network takes one channel: give the --mean and --std that it was trained with (0 and 1"
                " where its pictures were not normalised)"
            )
        crop = self.size if self.size is not None else usual.crop
        resize = self.resize if self.resize is not None else self._usual_resize(crop, usual)
        if not 1 <= crop <= LARGEST_CROP:
            raise ModelError(f"--size {crop}: from 1 to {LARGEST_CROP} pixels can be taken")
        if not crop <= resize <= 2 * LARGEST_CROP:
            raise ModelError(
                f"--resize {resize}: from the size, {crop}, to {2 * LARGEST_CROP} pixels can be cut"
            )
        return replace(
            usual,
            resize=resize,
            crop=crop,
            mean=_three("--mean", self.mean, 0.0, 1.0) or usual.mean,
            std=_three("--std", self.std, 1e-6, _LARGEST_STD) or usual.std,
            squash=self.squash,
            grey=self.grey or has_one_channel,
        )

    def assumed(self, used: Preprocessing) -> str:
        """What was taken for granted, in one line; empty where all of it was said."""
        parts = []
        if self.size is None:
            parts.append(f"--size {used.crop}")
        if self.resize is None and not self.squash:
            parts.append(f"--resize {used.resize}")
        if self.mean is None:
            parts.append(f"--mean {_shown(used.mean)}")
        if self.std is None:
            parts.append(f"--std {_shown(used.std)}")
        if not parts:
            return ""
        parts += ["no --squash"] * (not used.squash) + ["no --grey"] * (not used.grey)
        return f"assumed of the pictures, as for ImageNet weights: {', '.join(parts)}"

    def _usual_resize(self, crop: int, usual: Preprocessing) -> int:
        """As much larger than the size as usual; squashed pictures are seen whole."""
        return crop if self.squash else round(crop * usual.resize / usual.crop)


AS_FOR_IMAGENET = InputOptions()
"""Nothing was said."""


def _three(option: str, numbers: tuple[float, ...] | None, least: float, most: float) -> Rgb | None:
    if numbers is None:
        return None
    if len(numbers) not in (1, 3):
        raise ModelError(f"{option}: takes three numbers, or one for all channels, not {len(numbers)}")
    if not all(least <= number <= most for number in numbers):
        raise ModelError(
            f"{option} {_shown(numbers)}: from {least:g} to {most:g} is possible, as pixels count from 0 to"
            " 1 (divide by 255 what is meant for 0 to 255)"
        )
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def _shown(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)
