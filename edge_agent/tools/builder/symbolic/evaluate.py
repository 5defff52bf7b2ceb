"""Evaluates the code of an archive: statements and expressions, as TorchScript prints them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.system.text import printable
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.lowering.plan_builder import LoweringError
from edge_agent.tools.builder.symbolic.budget import Budget
from edge_agent.tools.builder.symbolic.code import Code, Function
from edge_agent.tools.builder.symbolic.operations import Operations
from edge_agent.tools.builder.symbolic.plain import checked
from edge_agent.tools.builder.symbolic.recorded import Activation

_CONSTANT = re.compile(r"CONSTANTS\.c(\d{1,6})")
_NAMED = {"inf": math.inf, "nan": math.nan}
_CASTS = {"bool": "aten::Bool", "float": "aten::Float", "int": "aten::Int", "str": "aten::str"}
_WITHOUT_EFFECT = "__torch__.torch.autograd.grad_mode."
_WITH_TYPE = {"annotate", "unchecked_cast"}
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "aten::add", ast.Sub: "aten::sub", ast.Mult: "aten::mul", ast.Div: "aten::div",
    ast.FloorDiv: "aten::floordiv", ast.Mod: "aten::remainder", ast.Pow: "aten::pow", ast.USub: "aten::neg",
    ast.Not: "aten::__not__", ast.Eq: "aten::eq", ast.NotEq: "aten::ne", ast.Lt: "aten::lt",
    ast.LtE: "aten::le", ast.Gt: "aten::gt", ast.GtE: "aten::ge", ast.Is: "aten::__is__",
    ast.IsNot: "aten::__isnot__", ast.In: "aten::__contains__",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reference:
    """A function or class of the archive's code, by its name."""

    name: str


class _Made(ScriptObject):
    """An object that the code itself makes, not one of the file: its attributes can change."""


@dataclass(frozen=True, slots=True)
class _Returned:
    value: object


@dataclass(slots=True)
class _Frame:
    """A function that is being evaluated. `owner`: its module in the network, such as `layer1.0`."""

    function: Function
    owner: str
    variables: dict[str, object]
    line: int = 0


class Evaluator:
    """Evaluates methods of an archive's objects. Raises LoweringErrors; `place` is where they arose."""

    def __init__(self, archive: Archive, operations: Operations, budget: Budget) -> None:
        self._code = Code(archive.code)
        self._constants = archive.constants
        self._operations = operations
        self._budget = budget
        self._owners = _places(archive.root)
        self._frames: list[_Frame] = []

    def method(
        self,
        owner: ScriptObject,
        name: str,
        arguments: Sequence[object],
        named: Mapping[str, object] | None = None,
    ) -> object:
        """Return what a method of an object makes of its arguments, activations or plain values."""
        function = self._code.class_of(owner.class_name).methods.get(name)
        if function is None:
            raise LoweringError(f"{printable(owner.class_name, 200)} has no method {printable(name, 100)}")
        return self._run(function, self._owners.get(id(owner), ""), (owner, *arguments), named or {})

    def parameters(self, owner: ScriptObject, name: str) -> list[str]:
        """Return those parameters of a method, without `self`, that have no default."""
        function = self._code.class_of(owner.class_name).methods.get(name)
        if function is None:
            raise LoweringError(f"{printable(owner.class_name, 200)} has no method {name}")
        return [each for each in function.parameters[1:] if each not in function.defaults]

    @property
    def place(self) -> str:
        """The line that is being evaluated."""
        if not self._frames:
            return "the model"
        frame = self._frames[-1]
        return f"line {frame.line} of code/{printable(frame.function.module.replace('.', '/'), 200)}.py"

    def _run(
        self, function: Function, owner: str, arguments: Sequence[object], named: Mapping[str, object]
    ) -> object:
        names = function.parameters
        variables = dict(zip(names, arguments, strict=False)) | dict(named)
        if len(arguments) > len(names) or not variables.keys() <= {*names}:
            raise LoweringError(
                f"a function that takes {printable(', '.join(names), 200)} is called with others"
            )
        self._frames.append(_Frame(function, owner, variables))
        for name in names:
            if name not in variables:
                variables[name] = self._default(function, name)
        outcome = self._block(function.body)
        # An error leaves its frame behind, for `place`: nothing is evaluated after one.
        self._frames.pop()
        return outcome.value if outcome else None

    def _default(self, function: Function, name: str) -> object:
        if name not in function.defaults:
            raise LoweringError(f"the argument {printable(name, 100)} is missing")
        return self._evaluate(function.defaults[name])

    # Statements: each returns what its function returns, or None where that goes on.

    def _block(self, statements: Sequence[ast.stmt]) -> _Returned | None:
        with self._budget:
            for statement in statements:
                self._frames[-1].line = statement.lineno
                self._budget.steps()
                execute = _STATEMENTS.get(type(statement))
                if execute is None:
                    raise LoweringError(f"the statement {type(statement).__name__} is not known")
                if outcome := execute(self, statement):
                    return outcome
        return None

    def _assign(self, statement: ast.Assign) -> None:
        value = self._evaluate(statement.value)
        for target in statement.targets:
            self._bind(target, value)

    def _annotated(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self._bind(statement.target, self._evaluate(statement.value))

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._frames[-1].variables[target.id] = value
            return
        if isinstance(target, ast.Attribute) and isinstance(owner := self._evaluate(target.value), _Made):
            owner.attributes[target.attr] = value
            return
        if not isinstance(target, ast.Tuple | ast.List):
            raise LoweringError(f"an assignment to {type(target).__name__} is not known")
        items = tuple(value.attributes.values()) if isinstance(value, ScriptObject) else value
        if not isinstance(items, tuple | list) or len(items) != len(target.elts):
            raise LoweringError(f"it takes apart what is not {len(target.elts)} values")
        for each, item in zip(target.elts, items, strict=True):
            self._bind(each, item)

    def _return(self, statement: ast.Return) -> _Returned:
        return _Returned(None if statement.value is None else self._evaluate(statement.value))

    def _expression(self, statement: ast.Expr) -> None:
        self._evaluate(statement.value)

    def _if(self, statement: ast.If) -> _Returned | None:
        return self._block(statement.body if self._truth(statement.test) else statement.orelse)

    def _while(self, statement: ast.While) -> _Returned | None:
        while self._truth(statement.test):
            if outcome := self._block(statement.body):
                return outcome
        return None

    def _for(self, statement: ast.For) -> _Returned | None:
        for index in self._range(statement.iter):
            self._bind(statement.target, index)
            if outcome := self._block(statement.body):
                return outcome
        return None

    def _range(self, call: ast.expr) -> range:
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "range":
            raise LoweringError("a loop is only known over a range")
        bounds = [self._evaluate(argument) for argument in call.args]
        if (
            not 1 <= len(bounds) <= 3
            or not all(isinstance(bound, int) for bound in bounds)
            or 0 in bounds[2:]
        ):
            raise LoweringError("the range of a loop is not made of integers")
        return range(*(bound for bound in bounds if isinstance(bound, int)))

    def _with(self, statement: ast.With) -> _Returned | None:
        for item in statement.items:
            context = self._evaluate(item.context_expr)
            if not isinstance(context, _Made) or not context.class_name.startswith(_WITHOUT_EFFECT):
                raise LoweringError("a block with a context is only known without gradients")
        return self._block(statement.body)

    def _pass(self, _: ast.Pass) -> None:
        """Go on."""

    # Expressions

    def _evaluate(self, expression: ast.expr) -> Any:
        with self._budget:
            self._budget.steps()
            evaluate = _EXPRESSIONS.get(type(expression))
            if evaluate is None:
                raise LoweringError(f"the expression {type(expression).__name__} is not known")
            return evaluate(self, expression)

    def _literal(self, expression: ast.Constant) -> object:
        if not isinstance(expression.value, bool | int | float | str | None):
            raise LoweringError(f"a literal of type {type(expression.value).__name__} is not known")
        return checked(expression.value)

    def _name(self, expression: ast.Name) -> object:
        variables = self._frames[-1].variables
        if expression.id in variables:
            return variables[expression.id]
        if expression.id in _NAMED:
            return _NAMED[expression.id]
        raise LoweringError(f"the name {printable(expression.id, 100)} is not defined")

    def _attribute(self, expression: ast.Attribute) -> object:
        name = self._dotted(expression)
        if name.startswith("__torch__."):
            return _Reference(name)
        if match := _CONSTANT.fullmatch(name):
            return self._constant(int(match[1]))
        return _attribute_of(self._evaluate(expression.value), expression.attr)

    def _constant(self, number: int) -> object:
        if number >= len(self._constants):
            raise LoweringError(f"there is no constant {number}")
        return self._constants[number]

    def _subscript(self, expression: ast.Subscript) -> object:
        container = self._evaluate(expression.value)
        if isinstance(expression.slice, ast.Slice):
            bounds = [expression.slice.lower, expression.slice.upper, expression.slice.step]
            values = [None if bound is None else self._evaluate(bound) for bound in bounds]
            return self._operate("aten::slice", [container, *values[:2], values[2] or 1])
        if not isinstance(container, list | tuple | dict | str):
            return self._operate("aten::select", [container, 0, self._evaluate(expression.slice)])
        return self._operate("aten::__getitem__", [container, self._evaluate(expression.slice)])

    def _list(self, expression: ast.List) -> list[object]:
        return [self._evaluate(item) for item in expression.elts]

    def _tuple(self, expression: ast.Tuple) -> tuple[object, ...]:
        return tuple(self._evaluate(item) for item in expression.elts)

    def _dict(self, expression: ast.Dict) -> dict[object, object]:
        if None in expression.keys:
            raise LoweringError("a dictionary inside another is not known")
        keys = [self._evaluate(key) for key in expression.keys if key is not None]
        if not all(isinstance(key, bool | int | float | str) for key in keys):
            raise LoweringError("a dictionary has keys that are not plain values")
        return dict(zip(keys, map(self._evaluate, expression.values), strict=True))

    def _unary(self, expression: ast.UnaryOp) -> object:
        return self._operate(_operator(expression.op), [self._evaluate(expression.operand)])

    def _binary(self, expression: ast.BinOp) -> object:
        operands = [self._evaluate(expression.left), self._evaluate(expression.right)]
        return self._operate(_operator(expression.op), operands)

    def _compare(self, expression: ast.Compare) -> object:
        if len(expression.ops) != 1:
            raise LoweringError("a chain of comparisons is not known")
        operands = [self._evaluate(expression.left), self._evaluate(expression.comparators[0])]
        if isinstance(expression.ops[0], ast.In):
            operands.reverse()
        return self._operate(_operator(expression.ops[0]), operands)

    def _choice(self, expression: ast.IfExp) -> object:
        return self._evaluate(expression.body if self._truth(expression.test) else expression.orelse)

    def _logic(self, expression: ast.BoolOp) -> bool:
        decisive = isinstance(expression.op, ast.Or)
        return decisive if any(self._truth(each) == decisive for each in expression.values) else not decisive

    def _truth(self, expression: ast.expr) -> bool:
        value = self._evaluate(expression)
        if isinstance(value, Activation):
            raise LoweringError("it decides by what is in the picture")
        if isinstance(value, np.ndarray) and value.size == 1:
            return bool(value.item())
        if not isinstance(value, bool | int | float):
            raise LoweringError("it decides by what is neither true nor false")
        return bool(value)

    # Calls

    def _call(self, expression: ast.Call) -> object:
        function = expression.func
        name = self._dotted(function)
        if name in _WITH_TYPE and len(expression.args) == 2:
            return self._evaluate(expression.args[1])
        if name == "uninitialized":
            return None
        arguments = [self._evaluate(argument) for argument in expression.args]
        named = {each.arg: self._evaluate(each.value) for each in expression.keywords if each.arg is not None}
        if name in _CASTS:
            return self._operate(_CASTS[name], arguments)
        if name == "getattr" and len(arguments) == 2:
            return _attribute_of(*arguments)
        if name.startswith(("torch.", "ops.")):
            return self._operate(_kind(name), arguments, named)
        if name.startswith("__torch__.") and name.endswith(".__new__"):
            return _Made(name.removesuffix(".__new__"), {})
        if isinstance(function, ast.Attribute) and not name.startswith("__torch__."):
            return self._call_method(self._evaluate(function.value), function.attr, arguments, named)
        return self._call_reference(self._evaluate(function), arguments, named)

    def _call_method(
        self, owner: object, name: str, arguments: Sequence[object], named: Mapping[str, object]
    ) -> object:
        if not isinstance(owner, ScriptObject):
            raise LoweringError(f"the method {printable(name, 100)} is called on what is no module")
        return self.method(owner, name, arguments, named)

    def _call_reference(
        self, called: object, arguments: Sequence[object], named: Mapping[str, object]
    ) -> object:
        if not isinstance(called, _Reference):
            raise LoweringError("it calls what is no function")
        if function := self._code.function(called.name):
            return self._run(function, self._frames[-1].owner, arguments, named)
        fields = self._code.class_of(called.name).fields
        if fields is None or named or len(fields) != len(arguments):
            raise LoweringError(f"it makes an object of {printable(called.name, 200)}, which is not known")
        return ScriptObject(called.name, dict(zip(fields, arguments, strict=True)))

    def _operate(
        self, kind: str, arguments: Sequence[object], named: Mapping[str, object] | None = None
    ) -> object:
        return self._operations.call(kind, arguments, named or {}, self._frames[-1].owner or self.place)

    def _dotted(self, expression: ast.expr) -> str:
        """Return `a.b.c` for such an expression that does not begin with a variable, else an empty text."""
        names = []
        while isinstance(expression, ast.Attribute):
            names.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name) or expression.id in self._frames[-1].variables:
            return ""
        return ".".join([expression.id, *reversed(names)])


def _attribute_of(owner: object, name: object) -> object:
    if not isinstance(owner, ScriptObject) or not isinstance(name, str):
        raise LoweringError("it asks for an attribute of what is no module")
    if name not in owner.attributes:
        raise LoweringError(f"{printable(owner.class_name, 200)} has no attribute {printable(name, 100)}")
    return owner.attributes[name]


def _operator(operator: ast.AST) -> str:
    if type(operator) not in _OPERATORS:
        raise LoweringError(f"the operator {type(operator).__name__} is not known")
    return _OPERATORS[type(operator)]


def _kind(name: str) -> str:
    """Return `aten::relu` for `torch.relu`, and `prim::data` for `ops.prim.data`."""
    room, _, operation = name.removeprefix("ops.").partition(".")
    return f"{'aten' if room == 'torch' else room}::{operation}"


def _places(root: ScriptObject) -> dict[int, str]:
    """The name of each module in the network by its identity: `layer1.0.conv1`. The root's is empty."""
    found = {id(root): ""}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        prefix = f"{found[id(module)]}." if module is not root else ""
        for name, child in module.attributes.items():
            if isinstance(child, ScriptObject) and id(child) not in found and len(prefix) < _LONGEST_PLACE:
                found[id(child)] = prefix + printable(name, 100)
                waiting.append(child)
    return found


_LONGEST_PLACE = 300

_STATEMENTS: dict[type[ast.stmt], Callable[[Evaluator, Any], _Returned | None]] = {
    ast.AnnAssign: Evaluator._annotated,
    ast.Assign: Evaluator._assign,
    ast.Expr: Evaluator._expression,
    ast.For: Evaluator._for,
    ast.If: Evaluator._if,
    ast.Pass: Evaluator._pass,
    ast.Return: Evaluator._return,
    ast.While: Evaluator._while,
    ast.With: Evaluator._with,
}

_EXPRESSIONS: dict[type[ast.expr], Callable[[Evaluator, Any], object]] = {
    ast.Attribute: Evaluator._attribute,
    ast.BinOp: Evaluator._binary,
    ast.BoolOp: Evaluator._logic,
    ast.Call: Evaluator._call,
    ast.Compare: Evaluator._compare,
    ast.Constant: Evaluator._literal,
    ast.Dict: Evaluator._dict,
    ast.IfExp: Evaluator._choice,
    ast.List: Evaluator._list,
    ast.Name: Evaluator._name,
    ast.Subscript: Evaluator._subscript,
    ast.Tuple: Evaluator._tuple,
    ast.UnaryOp: Evaluator._unary,
}
