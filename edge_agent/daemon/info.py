"""Puts the `info` payload together: what is running here, why, and how it is configured."""

from __future__ import annotations

import platform
from collections.abc import Callable

from edge_agent import __version__
from edge_agent.config.schema import Config
from edge_agent.inference.choice import Choice
from edge_agent.inference.loading import LoadedModel
from edge_agent.mqtt.contract.payloads import EvidenceInfo, Info, ModelInfo, utc
from edge_agent.system.board import Board
from edge_agent.system.clock import Clock


def evidence_of(choice: Choice) -> EvidenceInfo:
    """Why the engine and precision were chosen, with what was measured of them."""
    measured = choice.measured
    return EvidenceInfo(
        source=choice.source,
        reason=choice.reason,
        agreement=measured.agreement if measured else None,
        latency_ms=measured.latency_p50_ms if measured else None,
        rss_mb=measured.steady_mb if measured else None,
        measured=choice.measured_at,
    )


def info_payload(
    config: Config,
    model: LoadedModel,
    *,
    board: Board,
    clock: Clock,
    config_error: str = "",
    restart_reason: str = "",
) -> Info:
    """Assemble `info`; `config` is the one in force, `config_error` why the file's is not."""
    sidecar = model.artifact.sidecar
    return Info(
        ts=utc(clock.time_s()),
        ts_synced=clock.synced(),
        version=__version__,
        python=platform.python_version(),
        board=board.model() or board.cpu().name,
        system=_system_name(platform.freedesktop_os_release),
        model=ModelInfo(sidecar.name, sidecar.arch, sidecar.sha256, len(sidecar.labels)),
        engine=model.engine.info,
        evidence=evidence_of(model.choice),
        config=config,
        config_error=config_error,
        restart_reason=restart_reason,
    )


def _system_name(read_release: Callable[[], dict[str, str]]) -> str:
    """The operating system and its kernel: `Debian GNU/Linux 13 (trixie), Linux 6.12.0`."""
    try:
        name = read_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel
