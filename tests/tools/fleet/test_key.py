"""The key pair of a fleet: only its owner can read the private half, and what it signs devices take."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from edge_agent.cli import main
from edge_agent.errors import UsageError
from edge_agent.mqtt.contract.wanted import Target, Wanted, read_wanted, signed
from edge_agent.tools.fleet.key import load_key, make_key, public_key


def test_what_the_key_signs_is_taken_with_what_was_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.pem"
    assert main(["fleet", "key", str(file)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out.partition("device:\n")[2])["fleet"]["public_key"]
    key = load_key(file)
    wanted = Wanted("g", 1, "r", Target({"a": 1}))
    assert printed == public_key(key)
    assert read_wanted(signed(wanted, key.sign), printed, "g") == wanted
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    make_key(tmp_path / "fleet.pem")
    with pytest.raises(UsageError, match="File exists"):
        make_key(tmp_path / "fleet.pem")


@pytest.mark.parametrize(
    "content", [b"", b"\0\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused_by_its_name_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.pem"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"other\.pem is no private key"):
        load_key(file)


def test_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_key(tmp_path / "none.pem")
