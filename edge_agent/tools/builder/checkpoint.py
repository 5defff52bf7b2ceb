"""Reads a file of PyTorch without running code that it may hold, and says which type stands in the way."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ArtifactError, ModelError
from edge_agent.inference.torchscript import check_archive, deprecation_unmentioned
from edge_agent.system.text import printable
from edge_agent.tools.builder.weights_kind import kind_of

if TYPE_CHECKING:
    from torch import Tensor

_TYPES_SHOWN = 3
_LONGEST_REASON = 200
_STRANGE_TYPE = re.compile(r"GLOBAL (\S+) was not")

# Training programs keep these beside the weights. None of them is ever made: `Ignored` takes their place, so
# they are as harmless as the name that the file has for them.
_HARMLESS = (
    *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor", "uuid.UUID"),
    *("list", "dict", "tuple", "set", "frozenset", "int", "float", "str", "bool", "bytes", "bytearray"),
    *("complex", "slice", "range", "object", "decimal.Decimal", "fractions.Fraction"),
    *("collections.defaultdict", "collections.deque", "collections.Counter"),
    *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *("pathlib.PureWindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
    *("easydict.EasyDict", "addict.addict.Dict", "yacs.config.CfgNode"),
)
# Python 2 had another name for the module of the built-in types.
_HARMLESS_NAMES = frozenset(
    name if "." in name else f"{module}.{name}"
    for name in _HARMLESS
    for module in ("builtins", "__builtin__")
)
_HARMLESS_BEGINNINGS = (
    "numpy.",
    "torch.optim.",
    "torch.torch_version.",
    "omegaconf.",
    "ml_collections.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "pytorch_lightning.",
    "mmengine.",
    "mmcv.",
)


class Ignored:
    """Stands for something in a checkpoint that is not needed: it takes anything and keeps nothing."""

    def __new__(cls, *_args: object, **_options: object) -> Any:
        """Make nothing but an object of this class, or of its plain kind."""
        return super().__new__(cls)

    def __init__(self, *_args: object, **_options: object) -> None:
        """Forget the arguments."""

    def __setstate__(self, state: object) -> None:
        """Forget it."""


class _PlainDict(Ignored):
    """A kind of dict becomes a plain one, since torch's reader fills no other."""

    def __new__(cls, *_args: object, **_options: object) -> Any:
        return {}


class _PlainList(Ignored):
    """The same for a kind of list."""

    def __new__(cls, *_args: object, **_options: object) -> Any:
        return []


def _stand_in(name: str) -> type[Ignored]:
    if name.endswith(("dict", "Dict", "CfgNode")):
        return _PlainDict
    return _PlainList if name.endswith(("deque", "list", "List")) else Ignored


def read_file(path: Path) -> object:
    """Return what `torch.save` wrote, or the state dict of a TorchScript file.

    Nothing but tensors and plain values are made of a checkpoint. A TorchScript file may run code of its own
    when it is opened. Raises ModelError, which says what the file is or which type stands in the way.
    """
    kind = kind_of(path)
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
    except ArtifactError as error:
        raise ModelError(str(error)) from error
    return _scripted_state(path) if kind == "torchscript" else _unpickled(path)


def _unpickled(path: Path) -> object:
    import torch

    strange = _strange_types(path)
    in_the_way = [name for name in strange if not _is_harmless(name)]
    stand_ins: list[Any] = [(_stand_in(name), name) for name in {*_HARMLESS_NAMES, *strange} - {*in_the_way}]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # about old formats, which are read all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        found = in_the_way or _STRANGE_TYPE.findall(str(error))
        if found:
            raise ModelError(f"{printable(path)}: {_more_than_tensors(found)}") from error
        raise ModelError(
            f"{printable(path)}: not a file of weights that torch can read: damaged, or not written by"
            " torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # whatever damaged bytes make torch's reader do
        raise ModelError(
            f"{printable(path)}: not a file of weights that torch can read: {_reason(error)}"
        ) from error


def _strange_types(path: Path) -> list[str]:
    """The types in the file that torch does not know; none where the file is of torch's old format."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # the old format, or damaged: torch.load says which
        return []


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_NAMES or name.startswith(_HARMLESS_BEGINNINGS)


def _more_than_tensors(types: Collection[str]) -> str:
    advice = "save the weights alone with torch.save(model.state_dict(), FILE)"
    if any(name.startswith(("torch.nn.modules.", "torchvision.models.", "timm.")) for name in types):
        return f"holds more than tensors, a whole network ({_listed(types)}), which could run code; {advice}"
    return f"holds more than tensors ({_listed(types)}), and is not loaded, since it could run code; {advice}"


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name, 80) for name in names]
    more = f" and {len(shown) - _TYPES_SHOWN} more" if len(shown) > _TYPES_SHOWN else ""
    return ", ".join(shown[:_TYPES_SHOWN]) + more


def _scripted_state(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with deprecation_unmentioned():
            module: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        state: dict[str, Tensor] = dict(module.state_dict())
    except Exception as error:  # whatever damaged bytes make torch's reader do
        raise ModelError(
            f"{printable(path)}: not a TorchScript file that torch can read: {_reason(error)}"
        ) from error
    if not state:
        raise ModelError(
            f"{printable(path)}: this is a frozen TorchScript file: its weights have lost their names; save"
            " the network before it is frozen, or its weights with torch.save(model.state_dict(), FILE)"
        )
    return state


def _reason(error: Exception) -> str:
    """The first line of torch's text, without the codes by which it colours its words."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().split("\n", 1)[0]
    return printable(text, _LONGEST_REASON) or type(error).__name__
