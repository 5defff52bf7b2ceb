"""Opens a TorchScript archive: a zip of a pickle, raw tensors, and code, none of which is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import ModelError
from edge_agent.system.text import printable
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.archive.pickles import read_pickle
from edge_agent.tools.builder.archive.zipped import ZipView

_CODE = "code/"
_MOST_CODE_BYTES = 32 << 20
_SAVE_AGAIN = "save it again with torch.jit.save(torch.jit.load(FILE), FILE)"


def open_archive(path: Path) -> Archive:
    """Return what a TorchScript file holds, its tensors mapped and not copied.

    Raises ModelError where it is damaged, is something else, or was written by a torch before 1.4.
    """
    view = ZipView(path)
    if "model.json" in view:
        raise ModelError(f"{printable(path)}: was written by a torch before 1.4; {_SAVE_AGAIN}")
    if "data.pkl" not in view or "constants.pkl" not in view:
        raise ModelError(f"{printable(path)}: is not a TorchScript file, as torch.jit.save writes it")
    if view.is_big_endian:
        raise ModelError(f"{printable(path)}: was written on a big-endian machine; {_SAVE_AGAIN} on this one")
    root = _unpickled(path, view, "data")
    if not isinstance(root, ScriptObject):
        raise ModelError(f"{printable(path)}: is not a TorchScript file: it holds no module")
    constants = _unpickled(path, view, "constants")
    if not isinstance(constants, tuple):
        raise ModelError(f"{printable(path)}: is damaged: its constants are no tuple")
    return Archive(path, root, constants, _code(path, view))


def _unpickled(path: Path, view: ZipView, name: str) -> object:
    def read_storage(key: str) -> memoryview:
        return view.read(f"{name}/{key}")

    return read_pickle(path, view.read(f"{name}.pkl"), read_storage, with_code=True).value


def _code(path: Path, view: ZipView) -> Mapping[str, str]:
    """The source of each module; the maps of debugging beside them are left out."""
    code, total = {}, 0
    for name in view.names:
        if not name.startswith(_CODE) or not name.endswith(".py"):
            continue
        source = view.read(name)
        total += len(source)
        if total > _MOST_CODE_BYTES:
            raise ModelError(f"{printable(path)}: holds more code than any network has")
        try:
            code[name.removeprefix(_CODE).removesuffix(".py").replace("/", ".")] = str(source, "utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"{printable(path)}: damaged: its code is no text") from error
    return code
