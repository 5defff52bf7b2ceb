"""The owner's page: opened where the configuration asks for it, and given up where memory is short."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.live import LiveConfig
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.errands import Errands
from edge_agent.daemon.teaching import Teaching
from edge_agent.memory.guard import MemoryGuard
from edge_agent.memory.room import Room
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.system.clock import Clock
from edge_agent.system.log import say

if TYPE_CHECKING:
    from edge_agent.web.connections import PageServer

_LOG = logging.getLogger(__name__)


class OwnersPage:
    """Nothing, until `open`. Used by the main thread."""

    def __init__(self) -> None:
        self._server: PageServer | None = None

    def open(
        self,
        config_file: Path,
        live: LiveConfig,
        link: BrokerLink,
        loop: InferenceLoop,
        capture: CaptureLoop,
        guard: MemoryGuard,
        cooling: Cooling,
        room: Room,
        clock: Clock,
        teaching: Teaching,
        errands: Errands,
        state_dir: Path,
    ) -> None:
        """Serve the page. Where that is not possible the log says why: the agent's work does not need it."""
        try:
            from edge_agent.daemon.web_agent import WebAgent
            from edge_agent.web.site import open_site
        except ModuleNotFoundError as error:
            say(_LOG, logging.ERROR, f"web.enabled is true, but the Python package {error.name} is missing")
            return
        config = live.config.web
        agent = WebAgent(
            config_file, live, link, loop, capture, guard, cooling, room, clock, teaching, errands
        )
        try:
            self._server = open_site(config, agent, state_dir, clock)
        except OSError as error:
            say(_LOG, logging.ERROR, f"the page cannot listen on {config.listen}: {error.strerror}")
            return
        link.show_to(agent)
        loop.show_to(agent.answered)
        self._server.start()

    def close(self) -> None:
        """Serve it no more; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
