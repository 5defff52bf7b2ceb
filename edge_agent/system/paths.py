"""The directories that the agent keeps its files in: those of systemd's unit, else the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import ArtifactError

SYSTEM_MODEL = Path("/var/lib/edge-agent/model")
SYSTEM_CONFIG = Path("/etc/edge-agent/edge-agent.yaml")
WHOLE_FRAME = "frame"
"""What the whole picture is called among the regions, and its folder among theirs; no region may be."""


def state_dir(environment: Mapping[str, str]) -> Path:
    """The directory for files that survive a reboot: systemd's StateDirectory, else the XDG state folder."""
    return _directory(environment, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state")


def state_dir_of(model: Path, environment: Mapping[str, str]) -> Path:
    """The state directory of the agent that runs this model, for a command that somebody else may call.

    For an installed model that is the service's, whoever asks.
    """
    if SYSTEM_MODEL.parent in model.parents and "STATE_DIRECTORY" not in environment:
        return SYSTEM_MODEL.parent
    return state_dir(environment)


def runtime_dir(environment: Mapping[str, str]) -> Path | None:
    """The directory in memory that survives the process but not the boot; None where there is none."""
    for variable in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        if value := environment.get(variable):
            base = Path(value.split(":")[0])
            return base if variable == "RUNTIME_DIRECTORY" else base / "edge-agent"
    return None


def cache_dir(environment: Mapping[str, str]) -> Path:
    """The directory for files that can be made again: systemd's CacheDirectory, else the XDG cache folder."""
    return _directory(environment, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache")


def demo_model_dir(environment: Mapping[str, str]) -> Path:
    """Where `edge-agent demo` builds its model."""
    return cache_dir(environment) / "demo-model"


def find_model(given: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the model directory that a one-shot command should use.

    That is `given`; else the first that exists of $EDGE_AGENT_MODEL, the installed model, the demo's model.
    Raises ArtifactError when there is none.
    """
    if given is not None:
        return given
    if named := environment.get("EDGE_AGENT_MODEL"):
        return Path(named)
    candidates = (SYSTEM_MODEL, demo_model_dir(environment))
    for candidate in candidates:
        if (candidate / "model.json").is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise ArtifactError(
        f"no model found (looked in {looked}); build one with"
        f" `edge-agent model build --output {demo_model_dir(environment)}`, or name one with --model DIR"
    )


def _directory(environment: Mapping[str, str], unit: str, xdg: str, fallback: str) -> Path:
    if value := environment.get(unit):
        return Path(value.split(":")[0])  # systemd joins several directories by colons
    if value := environment.get(xdg):
        return Path(value) / "edge-agent"
    return Path(environment.get("HOME", "/")) / fallback / "edge-agent"
