"""Puts the page together: its routes, who may ask for them, and the server."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge_agent.config.address import listen_address
from edge_agent.config.schema import WebConfig
from edge_agent.system.clock import Clock
from edge_agent.system.log import say
from edge_agent.web.access import Access, AccessRules
from edge_agent.web.agent_view import AgentView
from edge_agent.web.api import Api
from edge_agent.web.application import Application
from edge_agent.web.connections import PageServer
from edge_agent.web.page import Page
from edge_agent.web.settings import Settings
from edge_agent.web.teach import Teach
from edge_agent.web.token_file import TokenFile

_LOG = logging.getLogger(__name__)


def open_site(config: WebConfig, agent: AgentView, state_dir: Path, clock: Clock) -> PageServer:
    """Listen as the configuration says; nothing is answered before the server is started.

    Raises OSError where the address cannot be had.
    """
    address = listen_address(config.listen)
    server = PageServer(address, site(config, agent, state_dir, clock))
    say(_LOG, logging.INFO, f"the page is at http://{address}/")
    if not TokenFile(state_dir).exists and (config.token == "always" or not address.is_loopback):
        say(_LOG, logging.WARNING, "nobody can see the page yet: `edge-agent web token` makes the token")
    return server


def site(config: WebConfig, agent: AgentView, state_dir: Path, clock: Clock) -> Application:
    """Everything that can be asked, for those who may."""
    rules = AccessRules(listen_address(config.listen), own_names(config.hosts), config.token)
    access = Access(rules, TokenFile(state_dir), clock)
    return Application(
        (
            *Api(agent).routes(),
            *Settings(agent).routes(),
            *Teach(agent).routes(),
            *Page(agent, access).routes(),
        ),
        access,
        room_bytes=agent.room_bytes,
        on_close=agent.events.close,
    )


def own_names(hosts: tuple[str, ...]) -> frozenset[str]:
    """The names by which this machine may be asked, in lower case."""
    name = os.uname().nodename.lower().removesuffix(".")
    short = name.partition(".")[0]
    return frozenset((name, short, f"{short}.local", *(host.lower().removesuffix(".") for host in hosts)))
