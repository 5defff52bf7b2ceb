"""Records the skeletons, where torch and torchvision are: `make skeletons`."""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.inference.torchscript import deprecation_unmentioned
from edge_agent.tools.builder.architectures import EFFICIENTNET_LITE0, find_architecture, make_blank
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.archive.script_file import open_archive
from edge_agent.tools.builder.lowering.blob import encode as encode_plan
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.skeletons.skeleton import Part, Skeleton, encode
from edge_agent.tools.builder.symbolic.translate import translate_archive

if TYPE_CHECKING:
    from torch import nn

_FOLDER = Path(__file__).parent
_QUALIFIED = re.compile(r"__torch__(?:\.\w+)+")
_OTHER_SIZE = 32
"""So much larger is the second picture that shows whether the code depends on the size."""


def record(name: str) -> Skeleton:
    """Record an architecture. Raises LoweringError where no plan can run it, and ModelError."""
    architecture = find_architecture(name)
    blank = make_blank(architecture)
    crop = architecture.preprocessing.crop
    network = blank.network.eval()
    traced = _traced(network, crop)
    translated = translate_archive(traced, (1, crop, crop, 3))
    encode_plan(translated.plan, translated.output, "fp32")  # it may be too large for any plan
    root, code = part_of(traced)
    plain_root = None
    if getattr(network, "transform_input", False):
        setattr(network, "transform_input", False)  # noqa: B010 - Module declares its attributes as tensors
        plain = _traced(network, crop)
        if plain.constants:
            raise ModelError("its code has other constants without its input transform")
        plain_root, plain_code = part_of(plain, "plain")
        code |= plain_code
        setattr(network, "transform_input", True)  # noqa: B010
    package = "efficientnet-lite-pytorch" if name == EFFICIENTNET_LITE0 else "torchvision"
    pretrained = architecture.pretrained
    return Skeleton(
        name=name,
        preprocessing=architecture.preprocessing,
        source=pretrained.source.split()[0],
        url=pretrained.url,
        last=blank.last,
        size=None if _fits_any_size(network, crop, part_of(traced)) else crop,
        recorded_with=f"torch {version('torch')}, {package} {version(package)}",
        code=code,
        constants=_constants(traced),
        root=root,
        plain_root=plain_root,
    )


def part_of(traced: Archive, variant: str = "") -> tuple[Part, dict[str, str]]:
    """Return an archive's structure and code, with names that do not depend on what was traced before."""
    names: dict[str, str] = {}

    def short(found: re.Match[str]) -> str:
        module, _, own_class = found[0].rpartition(".")
        return f"{names.setdefault(module, f'__torch__.m{variant}{len(names)}')}.{own_class}"

    def renamed(text: str) -> str:
        return _QUALIFIED.sub(short, text)

    root = _part(traced.root, renamed)
    return root, {names[module]: renamed(text) for module, text in traced.code.items() if module in names}


def _constants(traced: Archive) -> tuple[tuple[str, float], ...]:
    """Raises ModelError where the code has other constants than numbers."""
    numbers = [value for value in traced.constants if isinstance(value, np.ndarray) and value.shape == ()]
    if len(numbers) != len(traced.constants):
        raise ModelError("its code has constants that are no numbers")
    return tuple((value.dtype.str, value.item()) for value in numbers)


def _part(module: ScriptObject, renamed: Any) -> Part:
    known = {name: value for name, value in module.attributes.items() if name != "training"}
    weights = {name: value.shape for name, value in known.items() if isinstance(value, np.ndarray)}
    parts = {name: _part(value, renamed) for name, value in known.items() if isinstance(value, ScriptObject)}
    values = {name: value for name, value in known.items() if name not in {*weights, *parts}}
    return Part(renamed(module.class_name), weights, values, parts)  # type: ignore[arg-type]


def _traced(network: nn.Module, size: int) -> Archive:
    import torch

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), deprecation_unmentioned():
        warnings.simplefilter("ignore")
        path = Path(folder) / "traced.pt"
        jit: Any = torch.jit
        try:
            with torch.no_grad():
                traced = jit.trace(network, torch.zeros(1, 3, size, size), check_trace=False)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"cannot be traced for {size} x {size} pixels: {error}") from error
        jit.save(traced, str(path))
        return open_archive(path)


def _fits_any_size(network: nn.Module, crop: int, found: tuple[Part, dict[str, str]]) -> bool:
    try:
        return part_of(_traced(network, crop + _OTHER_SIZE)) == found
    except ModelError:  # it takes no other size
        return False


def main(names: Sequence[str]) -> int:
    """Record the given architectures, or all that can be."""
    from torchvision import models

    for name in names or [*models.list_models(module=models), EFFICIENTNET_LITE0]:
        try:
            contents = encode(record(name))
        except (LoweringError, ModelError) as error:
            print(f"{name}: left out: {error}")
            continue
        (_FOLDER / f"{name}.skeleton").write_bytes(contents)
        print(f"{name}: {len(contents) / 1000:.1f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
