"""What is suggested for a mistyped word, and that the running agent does not pay for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge_agent.system.suggest import closest, did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("levl", ["level", "format"], "did you mean 'level'?"),
        ("Client-ID", ["client_id", "port"], "did you mean 'client_id'?"),
        ("egyptian_cat", ["Egyptian cat", "tabby"], "did you mean 'Egyptian cat'?"),
        ("xyz", ["level", "format"], ""),
        ("", ["level"], ""),
        ("level", [], ""),
    ],
)
def test_the_closest_known_word_is_suggested(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint


def test_several_are_given_the_closest_first() -> None:
    known = ["vgg11", "resnet18", "resnet50", "swin_t"]
    assert closest("resnet51", known, most=2) == ["resnet50", "resnet18"]


def test_the_running_agent_does_not_load_what_only_suggests() -> None:
    script = "import sys, edge_agent.daemon.agent; print('difflib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
