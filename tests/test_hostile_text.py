"""No text from outside reaches terminal, log, service manager or MQTT as it is: it is made printable."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli import main
from edge_agent.mqtt.contract.payloads import dump
from edge_agent.system import log
from edge_agent.system.systemd import Notifier
from edge_agent.system.text import EscapedStream

HOSTILE = [
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "a\nb: forged line",
    "a\rb",
    "\u202etxt.exe",
    "\u2066\u2069",
    "\x9b31m",
    "\x7f\x08",
    "\u2028\u2029\x85",
    "\udcff\udc80",
    "\u200b\ufeff",
]
COMMANDS = [
    ["{text}"],
    ["classify", "{text}"],
    ["classify", "--model", "{folder}/{text}", "{folder}"],
    ["classify", "--json", "--model", "{folder}", "{folder}/{text}"],
    ["check-config", "{folder}/{text}"],
    ["check-config", "--json", "{folder}/{text}"],
    ["check-config", "{file}"],
    ["check-config", "--json", "{file}"],
    ["doctor", "--config", "{file}"],
    ["doctor", "--json", "--config", "{file}"],
    ["run", "--config", "{file}"],
    ["run", "--config", "{folder}/{text}"],
    ["run", "--max-frames", "{text}", "--config", "{file}"],
    ["calibrate", "--config", "{file}"],
    ["calibrate", "--model", "{folder}/{text}"],
    ["model", "info", "{folder}/{text}"],
    ["model", "verify", "{folder}/{text}"],
    ["model", "build", "--arch", "{text}", "--output", "{folder}/{text}"],
    ["model", "build", "--weights", "{folder}/{text}", "--output", "{folder}/model"],
    ["model", "build", "--labels", "{file}", "--weights", "{file}", "--output", "{folder}/model"],
    ["first-label", "--config", "{file}"],
    ["ha", "remove", "--config", "{file}"],
    ["demo", "--pictures", "{folder}/{text}"],
    ["bench", "--json", "{text}"],
]


def is_fit_to_be_shown(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\t", " ").split("\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place where nothing can be found, and where nothing is to be fetched from."""
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "EDGE_AGENT_MODEL"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    return tmp_path


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_command_prints_what_it_was_given_as_it_is(
    text: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = text.replace("/", "").replace("\0", "")
    file = folder / f"{name}.yaml"
    file.write_text(
        "source: {type: folder, folder: {path: " + json.dumps(f"/none/{text}") + "}}\n"
        "log: {level: " + json.dumps(text) + "}\n"
        "labels: {map: {" + json.dumps(text) + ": [a]}}\n" + json.dumps(text) + ": 1\n"
    )
    for command in COMMANDS:
        argv = [part.format(text=name, folder=folder, file=file) for part in command]
        with suppress(SystemExit):
            main(argv)
        shown = capfd.readouterr()
        assert shown.out or shown.err, command
        for output in (shown.out, shown.err):
            assert is_fit_to_be_shown(output), command
            assert text not in output, command


@given(st.text(st.characters(exclude_characters="\r")))
def test_a_stream_lets_only_printable_lines_through(text: str) -> None:
    lines: list[str] = []

    class Terminal:
        def write(self, shown: str) -> None:
            shown.encode()
            lines.append(shown)

    stream = EscapedStream(Terminal())  # type: ignore[arg-type]
    assert stream.write(text) == len(text)
    assert is_fit_to_be_shown(lines[0])
    assert lines[0].count("\n") == text.count("\n")


@given(st.text(st.characters()))
def test_mqtt_carries_it_escaped_and_its_meaning_unchanged(text: str) -> None:
    payload = dump({"label": text, text: 1})
    assert is_fit_to_be_shown(payload.decode())
    replaced = text.encode("utf-8", "replace").decode()
    assert json.loads(payload)["label"] == replaced


@given(st.text(st.characters()))
def test_the_service_manager_hears_one_printable_line(text: str) -> None:
    heard, said = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with heard, said:
        notifier = Notifier("/run/none")
        notifier._socket, own = said.dup(), notifier._socket
        assert own is not None
        own.close()
        message = "\n".join(notifier._status_line(text))
        notifier.close()
    assert is_fit_to_be_shown(message)
    assert "\n" not in message
    message.encode()


@pytest.mark.parametrize("kind", ["plain", "journal", "json"])
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_log_carries_it_as_it_is(kind: str, text: str, tmp_path: Path) -> None:
    path, logger = tmp_path / "log", logging.getLogger("edge_agent.x")
    before = logging.root.handlers[:]
    with path.open("w", encoding="utf-8") as stream:
        log.setup("info", kind, stream)
        try:
            raise ValueError(text)
        except ValueError as error:
            logger.error("got %s", text, exc_info=error, extra={"fields": {"n": text}})
        log.say_defect(logger, f"reading {text}", OSError(text))
    logging.root.handlers[:] = before
    shown = path.read_text(encoding="utf-8")
    assert shown
    assert is_fit_to_be_shown(shown)
    assert os.linesep + "b: forged" not in shown
