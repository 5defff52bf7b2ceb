"""Pictures of a training as SVG: how it went, what was taken for what, how sure it is and how often right.

Drawn by hand: they need no library, and stay a few kilobytes each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from edge_agent.system.text import printable
from edge_agent.tools.train.judge import Bin

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 26, 36
_LEARNT, _TUNED, _FAINT, _GRID = "#9aa9b5", "#0b7a75", "#65737e", "#e3e8ec"
_WRONG = "#d1495b"
_FONT = 'font-family="system-ui,sans-serif" font-size="11"'
_LONGEST_LABEL = 18
_MOST_LABELS = 24


@dataclass(frozen=True, slots=True)
class Curve:
    """What is drawn over the epochs, the first of which is 1."""

    name: str
    colour: str
    values: Sequence[float]


def training_svg(losses: Sequence[float], tuned: Sequence[tuple[float, float]], kept: int) -> str:
    """Loss and accuracy over epochs, side by side, as a whole SVG document.

    `losses` is the mean loss of each epoch, `tuned` loss and accuracy on the pictures to tune on after each;
    `kept` the epoch whose weights were kept, from 0.
    """
    learnt = Curve("learnt from", _LEARNT, losses)
    tune = Curve("to tune on", _TUNED, [loss for loss, _ in tuned])
    right = Curve("to tune on", _TUNED, [100 * share for _, share in tuned])
    most = max((*losses, *tune.values, 1e-9))
    parts = (
        _curves("Loss", (learnt, tune), most, kept, 0),
        _curves("Right, %", (right,), 100.0, kept, _WIDTH),
    )
    return _document(2 * _WIDTH, _HEIGHT, (line for part in parts for line in part))


def confusion_svg(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """What pictures of each label were taken for: a row for each label, darker for a larger share of it.

    Of very many labels the first are drawn; the table has all.
    """
    names = [_short(label) for label in labels[:_MOST_LABELS]]
    cell, left, top = 44, 12 + 7 * max(map(len, names)), 34
    lines = [_text(left, 14, "taken for")]
    for place, name in enumerate(names):
        middle = left + place * cell + cell / 2
        lines.append(_text(middle, 29, name[: max(4, cell // 7)], anchor="middle"))
        lines.append(_text(left - 6, top + place * cell + cell / 2 + 4, name, anchor="end"))
        whole = max(sum(confusion[place]), 1)
        for other in range(len(names)):
            count = confusion[place][other]
            share = count / whole
            colour = _TUNED if place == other else _WRONG
            x, y = left + other * cell, top + place * cell
            lines.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="{colour}"'
                f' fill-opacity="{share:.2f}" stroke="{_GRID}"/>'
            )
            if count:
                ink = "#fff" if share > 0.5 else "#222"
                lines.append(_text(x + cell / 2 - 1, y + cell / 2 + 3, str(count), anchor="middle", fill=ink))
    return _document(left + len(names) * cell + 8, top + len(names) * cell + 8, lines)


def reliability_svg(bins: Sequence[Bin], title: str) -> str:
    """How often answers of each sureness are right: on the line where they say how often they are."""
    lines = [*_frame(title, 100.0, 0)]
    lines.append(_line([(_x(0), _y(0)), (_x(1), _y(1))], _FAINT, dash=True))
    for each in bins:
        x, y = _x(each.low), _y(each.right)
        lines.append(
            f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{_x(each.high) - x - 2:.1f}" height="{_y(0) - y:.1f}"'
            f' fill="{_TUNED}" fill-opacity="0.35"/>'
        )
        lines.append(f'<circle cx="{_x(each.sure):.1f}" cy="{y:.1f}" r="3" fill="{_TUNED}"/>')
        lines.append(_text((x + _x(each.high)) / 2, _y(0) - 3, str(each.count), anchor="middle"))
    lines += [_text(_x(share / 100), _y(0) + 14, f"{share}", anchor="middle") for share in (0, 50, 100)]
    lines.append(_text(_x(0.5), _y(0) + 28, "probability of the answer, %", anchor="middle"))
    return _document(_WIDTH, _HEIGHT, lines)


def _curves(title: str, curves: Sequence[Curve], most: float, kept: int, shift: float) -> Iterator[str]:
    yield from _frame(title, most, shift)
    epochs = max(len(curve.values) for curve in curves)
    if kept >= 0:
        x = _x(kept / max(epochs - 1, 1)) + shift
        yield _line([(x, _y(0)), (x, _y(1))], _WRONG, dash=True)
        yield _text(x, _TOP - 2, "kept", anchor="end", fill=_WRONG)
    for place, curve in enumerate(curves):
        points = [
            (_x(epoch / max(epochs - 1, 1)) + shift, _y(value / most))
            for epoch, value in enumerate(curve.values)
        ]
        yield _line(points, curve.colour)
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{curve.colour}"/>' for x, y in points)
        end = _WIDTH - _RIGHT - 70 * place - 40 + shift
        yield _text(end, 14, curve.name, anchor="end", fill=curve.colour)
    yield _text(_x(0) + shift, _y(0) + 14, "1", anchor="middle")
    yield _text(_x(1) + shift, _y(0) + 14, str(epochs), anchor="middle")
    yield _text(_x(0.5) + shift, _y(0) + 28, "epoch", anchor="middle")


def _frame(title: str, most: float, shift: float) -> Iterator[str]:
    yield _text(_LEFT + shift, 14, title, bold=True)
    for share in (0, 0.25, 0.5, 0.75, 1):
        yield _line([(_x(0) + shift, _y(share)), (_x(1) + shift, _y(share))], _GRID)
        yield _text(_LEFT - 6 + shift, _y(share) + 4, f"{share * most:.3g}", anchor="end")


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def _line(points: Iterable[tuple[float, float]], colour: str, *, dash: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = ' stroke-dasharray="4 3"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}"{dashed}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = _FAINT, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"{weight}>'
        f"{escape(printable(text))}</text>"
    )


def _short(label: str) -> str:
    return printable(label, _LONGEST_LABEL)


def _document(width: float, height: float, lines: Iterable[str]) -> str:
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" {_FONT}>\n{body}\n</svg>\n'
    )
