"""The code of a TorchScript archive as syntax trees: classes and functions, parsed when first needed.

TorchScript is printed in Python's syntax, so Python's own parser reads it. Nothing of it is ever compiled.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.system.text import printable
from edge_agent.tools.builder.lowering.plan_builder import LoweringError

_MAX_CHARACTERS = 4 << 20
_MAX_TOKENS = 500_000
"""Of all modules that are parsed: a tree takes up to half a kilobyte for each. Real ones have 150,000."""
_HEADER = re.compile(r"^( *def \w+\()(?!\))", re.MULTILINE)
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or a method of a class."""

    module: str
    parameters: tuple[str, ...]
    defaults: Mapping[str, ast.expr]
    body: tuple[ast.stmt, ...]


@dataclass(frozen=True, slots=True)
class Class:
    """A class: its methods, and the names of its fields where it is a named tuple."""

    methods: Mapping[str, Function]
    fields: tuple[str, ...] | None


@dataclass(slots=True)
class _Module:
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)


class Code:
    """Finds functions and classes by their dotted names. `sources`: each module's text by its name."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._modules: dict[str, _Module] = {}
        self._characters, self._tokens = _MAX_CHARACTERS, _MAX_TOKENS

    def function(self, name: str) -> Function | None:
        """Return a function, or None where there is none of that name. Raises LoweringError."""
        module, _, own = name.rpartition(".")
        return self._module(module).functions.get(own)

    def class_of(self, name: str) -> Class:
        """Return a class. Raises LoweringError where it is not there, or its module cannot be parsed."""
        module, _, own = name.rpartition(".")
        found = self._module(module).classes.get(own)
        if found is None:
            raise LoweringError(f"its code has no class {printable(name, 200)}")
        return found

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            if name not in self._sources:
                return _Module()
            self._modules[name] = self._parsed(name, self._sources[name])
        return self._modules[name]

    def _parsed(self, name: str, text: str) -> _Module:
        self._characters -= len(text)
        if self._characters < 0:
            raise LoweringError(f"its code is longer than {_MAX_CHARACTERS:,} characters")
        self._tokens -= sum(1 for _ in _TOKEN.finditer(text))
        if self._tokens < 0:
            raise LoweringError(f"its code is longer than {_MAX_TOKENS:,} words and signs")
        try:
            return _sorted(name, _tree(text))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            words = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else str(error)
            reason = printable(words or "it is nested too deeply", 200)
            raise LoweringError(f"its code {printable(name, 200)} cannot be parsed: {reason}") from None


def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # backslashes that Python would rather not see
        try:
            return ast.parse(text)
        except SyntaxError:
            # Torch 1.4 lets parameters without a default follow those with one. By keyword, Python does too.
            return ast.parse(_HEADER.sub(r"\1*, ", text))


def _sorted(name: str, tree: ast.Module) -> _Module:
    module = _Module()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            module.functions[node.name] = _function(name, node)
        elif isinstance(node, ast.ClassDef):
            module.classes[node.name] = _class(name, node)
    return module


def _class(module: str, node: ast.ClassDef) -> Class:
    methods = {each.name: _function(module, each) for each in node.body if isinstance(each, ast.FunctionDef)}
    fields = None
    if any(isinstance(base, ast.Name) and base.id == "NamedTuple" for base in node.bases):
        annotated = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
        fields = tuple(target.id for target in annotated if isinstance(target, ast.Name))
    return Class(methods, fields)


def _function(module: str, node: ast.FunctionDef) -> Function:
    parameters = tuple(each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
    positional = parameters[: len(parameters) - len(node.args.kwonlyargs)]
    defaults = dict(zip(reversed(positional), reversed(node.args.defaults), strict=False))
    for each, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is not None:
            defaults[each.arg] = default
    return Function(module, parameters, defaults, tuple(node.body))
