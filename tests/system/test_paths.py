"""The directories that the agent uses, depending on the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ArtifactError
from edge_agent.system.paths import (
    SYSTEM_MODEL,
    cache_dir,
    demo_model_dir,
    find_model,
    runtime_dir,
    state_dir,
    state_dir_of,
)


def test_a_service_keeps_its_state_where_its_unit_says() -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/edge-agent", "XDG_STATE_HOME": "/x", "HOME": "/home/pi"}
    assert state_dir(environment) == Path("/var/lib/edge-agent")


def test_of_several_state_directories_the_first_is_used() -> None:
    assert state_dir({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")


def test_whoever_asks_finds_the_state_of_the_installed_agent() -> None:
    environment = {"HOME": "/home/pi"}
    assert state_dir_of(SYSTEM_MODEL, environment) == Path("/var/lib/edge-agent")
    assert state_dir_of(SYSTEM_MODEL, {"STATE_DIRECTORY": "/s"}) == Path("/s")
    assert state_dir_of(Path("/my/model"), environment) == state_dir(environment)


def test_a_user_keeps_state_and_cache_in_the_home_directory() -> None:
    environment = {"HOME": "/home/pi"}
    assert state_dir(environment) == Path("/home/pi/.local/state/edge-agent")
    assert cache_dir(environment) == Path("/home/pi/.cache/edge-agent")


def test_the_xdg_folders_are_honoured() -> None:
    environment = {"HOME": "/home/pi", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}
    assert (state_dir(environment), cache_dir(environment)) == (Path("/s/edge-agent"), Path("/c/edge-agent"))


def test_the_runtime_directory_is_the_units_or_the_users_or_none() -> None:
    assert runtime_dir({"RUNTIME_DIRECTORY": "/run/edge-agent"}) == Path("/run/edge-agent")
    assert runtime_dir({"XDG_RUNTIME_DIR": "/run/user/1000"}) == Path("/run/user/1000/edge-agent")
    assert runtime_dir({}) is None


def test_the_model_named_wins_over_the_environment(tmp_path: Path) -> None:
    assert find_model(tmp_path, {"EDGE_AGENT_MODEL": "/elsewhere"}) == tmp_path
    assert find_model(None, {"EDGE_AGENT_MODEL": "/elsewhere"}) == Path("/elsewhere")


def test_the_demos_model_serves_where_none_is_installed(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    with pytest.raises(ArtifactError, match=r"edge-agent model build --output .*demo-model"):
        find_model(None, environment)
    model = demo_model_dir(environment)
    model.mkdir(parents=True)
    (model / "model.json").write_text("{}")
    assert find_model(None, environment) == model
