"""The closed list of what a file of PyTorch may name, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge_agent.tools.builder.archive.contents import ScriptObject
from edge_agent.tools.builder.archive.machine import PickleError
from edge_agent.tools.builder.archive.tensors import DTYPE_NAMES, DTYPES, Quantised, tensor_of

Make = Callable[..., object]

# Training programs keep these beside the weights. None of them is ever made: `Ignored` takes their place, so
# they are as harmless as the name that the file has for them.
_HARMLESS = (
    *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor", "uuid.UUID"),
    *("set", "frozenset", "int", "float", "str", "bool", "bytes", "bytearray", "complex", "slice", "range"),
    *("object", "getattr", "decimal.Decimal", "fractions.Fraction"),
    *("collections.deque", "collections.Counter", "_codecs.encode"),
    *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *("pathlib.PureWindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
    *("torch.device", "torch.memory_format", "torch.Generator", "torch.serialization._get_layout"),
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
_DICTS = ("dict", "collections.OrderedDict", "collections.defaultdict")
_DICT_ENDINGS = ("dict", "Dict", "CfgNode")
_LISTS = ("list", "tuple", "torch.Size")
# How TorchScript names its own plain values.
_TYPED_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


class Ignored:
    """Stands for something in a file that is not needed: it takes anything and keeps nothing."""


@dataclass(slots=True)
class Names:
    """Answers a pickle machine's questions; collects the names that it must not make anything of."""

    with_code: bool = False
    """Whether the file is TorchScript, whose classes are those of its own code."""
    makes_tensors: bool = True
    strange: set[str] = field(default_factory=set)

    def find(self, module: str, name: str) -> Make:
        """Return what to call for a name: `FindName` of the pickle machine."""
        # Python 2 had another name for the module of the built-in types.
        full = name if module in ("builtins", "__builtin__") else f"{module}.{name}"
        if made := _KNOWN.get(full):
            return made if self.makes_tensors or made is not _tensor else _ignore
        if self.with_code and (module == "__torch__" or module.startswith("__torch__.")):
            return _script_class(full)
        if module in ("torch", "torch.storage") and name in DTYPES:
            return _constant(name)
        if module == "torch" and name in DTYPE_NAMES:
            return _constant(name)
        if full.endswith(_DICT_ENDINGS):
            return _plain_dict
        if full not in _HARMLESS and not full.startswith(_HARMLESS_BEGINNINGS):
            self.strange.add(full)
        return _ignore


class Constant:
    """A name that stands for itself: `of` is what; it is not called."""

    def __init__(self, of: object) -> None:
        self.of = of

    def __call__(self, *_arguments: object) -> object:
        raise PickleError("it calls what cannot be called")


def _constant(of: object) -> Make:
    return Constant(of)


def _ignore(*_arguments: object) -> object:
    return Ignored()


def build(target: object, state: object) -> None:
    """Give an object of a TorchScript file its attributes; nothing else takes any."""
    if isinstance(target, ScriptObject):
        named = isinstance(state, dict) and all(isinstance(key, str) for key in state)
        target.attributes = state if isinstance(state, dict) and named else {"state": state}


def _script_class(name: str) -> Make:
    def make(*_arguments: object) -> object:
        return ScriptObject(name, {})

    return make


def _plain_dict(*arguments: Any) -> object:
    """What a dict was made of: pairs, or another dict."""
    for argument in arguments:
        if isinstance(argument, dict):
            return dict(argument)
        if isinstance(argument, list | tuple) and all(
            isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int)
            for pair in argument
        ):
            return {pair[0]: pair[1] for pair in argument}
    return {}


def _plain_list(*arguments: Any) -> object:
    items = arguments[0] if arguments else ()
    return items if isinstance(items, list | tuple) else []


def _first(*arguments: Any) -> object:
    return arguments[0] if arguments else None


def _tensor(
    storage: object = None, offset: object = 0, size: object = (), strides: object = (), *_: object
) -> object:
    return tensor_of(storage, offset, size, strides)


def _of_type(function: object = None, _type: object = None, arguments: object = (), *_: object) -> object:
    if not callable(function) or not isinstance(arguments, tuple):
        raise PickleError("it makes a tensor of what cannot be called")
    return function(*arguments)


def _quantised(*_arguments: object) -> object:
    return Quantised()


def _refuse(what: str) -> Make:
    def refuse(*_arguments: object) -> object:
        raise PickleError(f"it holds {what}")

    return refuse


_KNOWN: dict[str, Make] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _refuse("a tensor of a type that no classifier has"),
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _refuse("a sparse tensor"),
    "torch._utils._rebuild_sparse_csr_tensor": _refuse("a sparse tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse(
        "a tensor without numbers (of the device `meta`)"
    ),
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.nn.parameter.Parameter": _first,
    "torch.Tensor": _first,
    "torch.jit._pickle.restore_type_tag": _first,
    "torch.jit._pickle.build_tensor_from_id": _refuse("tensors by number, as torch before 1.4 wrote them"),
    **{f"torch.jit._pickle.{name}": _plain_list for name in _TYPED_LISTS},
    **dict.fromkeys(_DICTS, _plain_dict),
    **dict.fromkeys(_LISTS, _plain_list),
}
