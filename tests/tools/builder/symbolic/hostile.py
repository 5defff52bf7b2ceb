"""Code that means to take time, memory or the interpreter; run as a program, it shows what that takes."""

from __future__ import annotations

import ast
import copy
import json
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.tools.builder.archive.contents import Archive, ScriptObject
from edge_agent.tools.builder.lowering.blob import encode
from edge_agent.tools.builder.symbolic.translate import translate_archive
from tests.tools.builder.symbolic.handwritten import SHAPE, weights, written

_DOUBLED = "\n".join(["y = [1]"] + ["y = torch.add(y, y)"] * 60)
_NESTED = "\n".join(["y = [1]", "z = [1]"] + ["y = [y, y]\nz = [z, z]"] * 60)
_WIDE = "y = x\n" + "\n".join(["y = torch.cat([y, y], 1)"] * 80) + "\nreturn y"
_WIDE_WEIGHTS = np.broadcast_to(np.float32(1), (1 << 40,))

HOSTILE: dict[str, tuple[str, str]] = {
    "endless loop": ("while True:\n  pass", "more than 500,000 steps"),
    "endless range": ("for i in range(1000000000000000000):\n  pass", "more than 500,000 steps"),
    "loops in loops": (
        "for i in range(9999):\n  for j in range(9999):\n    y = 1",
        "more than 500,000 steps",
    ),
    "recursion": ("return (self).forward(x, )", "nested more than"),
    "recursion of functions": ("return __torch__.net.f(x)", "nested more than"),
    "a list doubled": (_DOUBLED, "more than 500,000 steps"),
    "a list repeated": ("y = torch.mul([1], 1000000000000)", "more than 500,000 steps"),
    "a list that grows": ("y = [1]\nwhile True:\n  torch.append(y, y)", "more than 500,000 steps"),
    "lists compared": (_NESTED + "\nb = torch.eq(y, z)", "only lists of plain values"),
    "lists shown": (_NESTED + "\nops.prim.RaiseException(torch.format('{}', y))", "refuses: ..."),
    "lists in a tensor": (_NESTED + "\nb = torch.tensor(y)", "only known for numbers"),
    "lists in arithmetic": (_NESTED + "\nb = torch.mul(self.w, y)", "only known for tensors and numbers"),
    "lists as a shape": (_NESTED + "\nb = torch.ones(y)", "not those of this operation"),
    "lists returned": (_NESTED + "\nreturn y", "not the result of a layer"),
    "a list in itself": ("y = [1]\ntorch.append(y, y)\nreturn torch.cat(y, 1)", "not known"),
    "a large shift": ("y = torch.__lshift__(1, 1000000000)", "more than 63 bits"),
    "a large power": ("y = torch.pow(10, 1000000000)", "beyond 64 bits"),
    "a tower of powers": ("y = 3\nwhile True:\n  y = y ** y", "beyond 64 bits"),
    "a large product": ("y = 2\nwhile True:\n  y = torch.mul(y, y)", "beyond 64 bits"),
    "a large literal": ("y = 99999999999999999999", "beyond 64 bits"),
    "a huge literal": ("y = 0x" + "f" * 1_000_000, "beyond 64 bits"),
    "a huge literal in decimals": ("y = " + "9" * 5000, "cannot be parsed"),
    "digits to round to": ("y = torch.round(5, -1000000000)", "not those of this operation"),
    "a text doubled": ("y = 'a'\nwhile True:\n  y = torch.add(y, y)", "not a number or a short text"),
    "a text repeated": ("y = torch.mul('a', 1000000000000)", "more than 500,000 steps"),
    "a text repeated from the left": ("y = torch.mul(1000000000000, 'a')", "not known on these values"),
    "a text as a sum": (
        "y = torch.add('', 'a', alpha=1000000000000)",
        "0 outputs",
    ),
    "a width in a text": ("y = '%1000000000d' % 1", "not known on these values"),
    "a long text": ("y = '" + "a" * 100_000 + "'", "not a number or a short text"),
    "a large tensor": ("y = torch.ones([1000000, 1000000])", "computes more than"),
    "a tensor of less than nothing": ("y = torch.ones([-1, 1000000])", "cannot have -1 elements"),
    "large ranges": ("y = torch.arange(1000000000000)", "computes more than"),
    "tensors that grow": ("y = self.w\nwhile True:\n  y = torch.cat([y, y])", "computes more than"),
    "tensors broadcast": (
        "y = torch.add(torch.unsqueeze(torch.arange(9000), 0), torch.unsqueeze(torch.arange(9000), 1))",
        "computes more than",
    ),
    "a tensor without memory": ("return torch.add(x, self.wide)", "read more than"),
    "a tensor without memory as a sum": ("y = torch.add(self.wide, 1)", "computes more than"),
    "a tensor with many dimensions": (
        "y = self.w\nwhile True:\n  y = torch.unsqueeze(y, 0)",
        "not those of this operation",
    ),
    "channels without end": (
        _WIDE,
        "has the impossible shape",
    ),
    "operations without end": ("y = x\nwhile True:\n  y = torch.sigmoid(y)", "more than 500,000 steps"),
    "operands without end": (
        "y = [x]\nfor i in range(10):\n  y = torch.add(y, y)\nwhile True:\n  z = torch.cat(y, 1)",
        "more than 500,000 steps",
    ),
    "a picture of padding": (
        "return torch.conv2d(torch.pad(x, [1000000000, 0, 0, 0]), self.filter)",
        "is not below its extent",
    ),
    "brackets": ("y = " + "(" * 5000 + ")" * 5000, "cannot be parsed"),
    "signs": ("y = " + "-" * 100_000 + "1", "cannot be parsed"),
    "attributes of attributes": ("y = x" + ".a" * 100_000, "cannot be parsed"),
    "sums of sums": ("y = x" + "+x" * 100_000, "cannot be parsed"),
    "sums of a few sums": ("y = 1" + "+1" * 200, "nested more than"),
    "branches in branches": (
        "\n".join("  " * depth + "if True:" for depth in range(90)) + "\n" + "  " * 90 + "y = 1",
        "0 outputs",
    ),
    "many words": ("y = [" + "1," * 400_000 + "]", "longer than 500,000 words"),
    "almost too many words": ("y = [" + "1," * 249_000 + "]", "0 outputs"),
    "many characters": ("y = '" + "a" * 5_000_000 + "'", "longer than 4,194,304 characters"),
    "no Python": ("y = = 3", "cannot be parsed"),
    "a null byte": ("y = '\0'", "cannot be parsed"),
    "an import": ("import os", "the statement Import is not known"),
    "a builtin": ("return __import__('os')", "the name __import__ is not defined"),
    "an attribute of Python's": ("return self.__class__", "has no attribute __class__"),
    "a method of Python's": ("return 'a'.join('b')", "is called on what is no module"),
    "an expression of Python's": ("return f'{x}'", "the expression JoinedStr is not known"),
    "a key that cannot be one": ("y = {[1]: 2}", "keys that are not plain"),
    "a name with a terminal's words": ("return self.__dict__['\\x1b[2J']", "has no attribute"),
    "modules in a circle": (
        "return (self.again.again.again).forward(self.again)",
        "nested more than",
    ),
}
"""Each body of `forward`, and what the error says."""


def hostile(body: str) -> Archive:
    archive = written(
        body,
        "def f(y: Tensor) -> Tensor:\n  return __torch__.net.f(y)",
        w=weights(9),
        wide=_WIDE_WEIGHTS,
        filter=weights(2, 3, 1, 1),
    )
    archive.root.attributes["again"] = archive.root
    return archive


def outcome(archive: Archive) -> str:
    """What comes of an archive: an expected error's words, or nothing. Other exceptions are raised."""
    try:
        translated = translate_archive(archive, SHAPE)
        encode(translated.plan, translated.output, "fp32")
    except ModelError as error:
        return str(error)
    return ""


_TOKEN = re.compile(r"\w+|[^\w\s]")
_NASTY = re.findall(
    r"\S+",
    "self x None True -1 0 1000000000000 inf nan 'a' [] [x] {} () while torch.ones torch.cat torch.size"
    " torch.relu_ torch.add torch.softmax torch.flatten torch.t CONSTANTS.c0 self.weight ( ) [ ] , . = : if"
    " return pass % ** <<",
)


def mutated(text: str, seed: int) -> str:
    """The text with a few of its words and signs taken out, doubled, exchanged, or replaced by nasty ones."""
    random_ = random.Random(seed)
    for _ in range(random_.randint(1, 4)):
        found = list(_TOKEN.finditer(text))
        one, other = random_.choice(found), random_.choice(found)
        new = random_.choice(["", one[0] * 2, other[0], random_.choice(_NASTY), random_.choice(_NASTY)])
        text = text[: one.start()] + new + text[one.end() :]
    return text


_EXPRESSIONS = re.findall(
    r"[^;]+",
    "x;self;self.weight;self.linear;"
    "self.block;CONSTANTS.c0;None;True;0;-1;2;1.5;inf;'a';[];[x];[1, 2];[x, x];"
    "(1, x);{'a': x};1000000000000;torch.size(x);torch.flatten(x, 1);torch.relu_(x);torch.sigmoid(x);"
    "torch.cat([x, x], 1);torch.t(self.linear);torch.add(x, self.mean);[[], []];torch.ones([4]);range(3);"
    "x[0];"
    "torch.mul(x, 2.5);torch.pad(x, [1, 1, 1, 1]);torch.softmax(x, 1);__torch__.net.pool;torch.to(x, 5);"
    "torch.expand(self.mean, [4, 4]);torch.matmul(x, self.weight)",
)


def grafted(text: str, seed: int) -> str:
    """The code with a few of its expressions exchanged, or replaced by others: it can always be parsed."""
    random_ = random.Random(seed)
    for _ in range(random_.randint(1, 4)):
        tree = ast.parse(text)
        places = [
            (node, name, index)
            for node in ast.walk(tree)
            for name, value in ast.iter_fields(node)
            for index, each in enumerate(value if isinstance(value, list) else [value])
            if isinstance(each, ast.expr)
        ]
        (node, name, index), (other, other_name, other_index) = random_.sample(places, 2)
        own, new = getattr(node, name), getattr(other, other_name)
        new = new[other_index] if isinstance(new, list) else new
        if random_.random() < 0.7:
            new = ast.parse(random_.choice(_EXPRESSIONS), mode="eval").body
        before = text
        if isinstance(own, list):
            own[index] = copy.deepcopy(new)
        else:
            setattr(node, name, copy.deepcopy(new))
        try:
            text = ast.unparse(tree)
            ast.parse(text)
        except (SyntaxError, ValueError, AttributeError):
            text = before  # an expression where there can be none
    return text


SEED = """
class Net(Module):
  def forward(self: __torch__.net.Net,
    x: Tensor) -> Tensor:
    block = self.block
    y = torch.conv2d(torch.to(x, 6), self.weight, None, [1, 1], [1, 1], [1, 1], 1)
    y0 = torch.batch_norm(y, None, None, self.mean, self.variance, False, 0.1, 1e-05, True)
    for i in range(torch.sub(torch.len(torch.size(y0)), 2)):
      y0 = (block).forward(torch.relu_(y0), torch.add(i, 1), )
    if torch.ne(torch.dim(y0), 4):
      ops.prim.RaiseException(torch.format("expected 4D input (got {}D input)", torch.dim(y0)))
    else:
      pass
    z = torch.flatten(torch.adaptive_avg_pool2d(y0, [1, 1]), 1)
    _0 = torch.mul(CONSTANTS.c0, 2)
    w = torch.addmm(self.mean, z, torch.t(torch.reshape(self.linear, [4, -1])), beta=1, alpha=1)
    return torch.softmax(torch.div(w, _0), 1)
class Block(Module):
  def forward(self,
    x: Tensor,
    k: int) -> Tensor:
    _0 = __torch__.net.pool
    y = annotate(List[Tensor], [])
    y1 = torch.append(y, _0(x, k, ))
    y2 = torch.append(y, torch.sigmoid(torch.mul(x, k)))
    return torch.add_(torch.mul(y[0], y[1]), x)
def pool(x: Tensor,
    k: int,
    ceil: bool=False) -> Tensor:
  _1 = [torch.add(torch.mul(k, 2), 1), torch.add(torch.mul(k, 2), 1)]
  if torch.__isnot__(x, None):
    y = torch.max_pool2d(x, _1, [1, 1], [k, k], [1, 1], ceil)
  else:
    y = x
  return y
"""


def mutants(seeds: range) -> Iterator[tuple[int, Archive]]:
    for seed in seeds:
        yield seed, sample((mutated if seed % 3 == 0 else grafted)(SEED, seed))


def sample(text: str = SEED) -> Archive:
    """A network with some of everything."""
    attributes = {
        "block": ScriptObject("__torch__.net.Block", {}),
        "weight": weights(4, 3, 3, 3),
        "mean": weights(4),
        "variance": np.abs(weights(4)),
        "linear": weights(16),
    }
    root = ScriptObject("__torch__.net.Net", attributes)
    return Archive(Path("net.pt"), root, (np.array(2),), {"__torch__.net": text})


def main() -> None:
    """Print, as JSON, each case's error and its seconds, and by how many MiB all of them grew the process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {}
    for case, (body, _) in HOSTILE.items():
        begin = time.monotonic()
        found[case] = (outcome(hostile(body)), time.monotonic() - begin)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.stdout.write(json.dumps({"found": found, "grown": grown / 1024}))


if __name__ == "__main__":
    main()
