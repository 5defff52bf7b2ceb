"""A line about progress renews itself on a terminal, and is plain and rare elsewhere."""

from __future__ import annotations

import io

import pytest

from edge_agent.tools.progress_line import ProgressLine, duration
from tests.clock import FakeClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_renews_itself() -> None:
    stream, clock = Terminal(), FakeClock()
    line = ProgressLine(stream, clock, lambda: 20)
    line.show("step 1 of 100")
    line.show("left out: too soon")
    clock.advance(1.0)
    line.show("step 2\x1b[2J of a hundred thousand")
    line.say("a line that stays")
    assert stream.getvalue().split("\r") == [
        "",
        "step 1 of 100",
        "step 2\\x1b[2J of...",
        " " * 19,
        "a line that stays\n",
    ]


def test_a_file_has_plain_lines_now_and_then() -> None:
    stream, clock = io.StringIO(), FakeClock()
    line = ProgressLine(stream, clock)
    for step in range(100):
        line.show(f"step {step}")
        clock.advance(1.0)
    line.say("done")
    line.clear()
    assert stream.getvalue() == "step 30\nstep 60\nstep 90\ndone\n"


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (7.4, "7 s"), (185, "3:05"), (7385, "2:03:05")])
def test_a_time_is_shown_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
