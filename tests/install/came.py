"""A model that came over MQTT, without a server and an agent."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_agent.install import record as record_file
from edge_agent.install.record import Record
from edge_agent.install.store import DIRECTORY, RECORD, place_name
from edge_agent.model.sidecar import Artifact


def came_over_mqtt(artifact: Artifact, state_dir: Path, configured: Path) -> Path:
    """Let the agent of that model.path run a copy, with all its files; returns where it lies."""
    name = place_name(artifact.sidecar)
    place = state_dir / DIRECTORY / name
    shutil.copytree(artifact.directory, place)
    record_file.save(state_dir / DIRECTORY / RECORD, Record(str(configured), name))
    return place
