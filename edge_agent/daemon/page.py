"""The owner's page: opened where the configuration asks for it, and given up where memory is short."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.schema import WebConfig
from edge_agent.mqtt.link import BrokerLink
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.system.clock import Clock
from edge_agent.system.log import say

if TYPE_CHECKING:
    from edge_agent.daemon.web_agent import WebAgent
    from edge_agent.web.connections import PageServer

_LOG = logging.getLogger(__name__)


class OwnersPage:
    """Nothing, until `open`. Used by the main thread."""

    def __init__(self) -> None:
        self._server: PageServer | None = None

    def open(
        self,
        config: WebConfig,
        make_agent: Callable[[], WebAgent],
        link: BrokerLink,
        loop: InferenceLoop,
        state_dir: Path,
        clock: Clock,
    ) -> None:
        """Serve the page. Where that is not possible the log says why: the agent's work does not need it."""
        try:
            from edge_agent.web.site import open_site

            agent = make_agent()
        except ModuleNotFoundError as error:
            say(_LOG, logging.ERROR, f"web.enabled is true, but the Python package {error.name} is missing")
            return
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
