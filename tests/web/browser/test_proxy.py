"""The page below a path of nginx and of Caddy, as docs/page.md has them, with a token."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from edge_agent.tools.demo.bundled import PICTURES_DIR
from edge_agent.tools.demo.subscriber import Subscriber
from edge_agent.web.token_file import TokenFile
from tests.daemon.conftest import StartDaemon
from tests.daemon.helpers import NAMES, RIGHT, receive
from tests.installed import program
from tests.web.browser.browser import Browser
from tests.web.helpers import HOST, Client, free_port

pytestmark = pytest.mark.web

Behind = Callable[[Path, int], AbstractContextManager[Client]]

MANUAL = Path(__file__).parents[3] / "docs" / "page.md"


@contextmanager
def nginx(directory: Path, page_port: int) -> Iterator[Client]:
    """nginx with the lines of the manual, before the page at `page_port`."""
    found = re.search(r"```nginx\n(.*?)```", MANUAL.read_text(), re.S)
    assert found
    location = found[1].replace("127.0.0.1:8384", f"{HOST}:{page_port}")
    port = free_port()
    directory.mkdir()
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"{'user root; ' * (os.geteuid() == 0)}daemon off; events {{}}\n"
        f"pid {directory}/pid; error_log {directory}/error.log;\n"
        f"http {{ access_log off; {temporary}\nserver {{ listen {HOST}:{port}; {location} }} }}\n"
    )
    with answering([program("nginx"), "-c", str(config)], port) as client:
        yield client


@contextmanager
def caddy(directory: Path, page_port: int) -> Iterator[Client]:
    """Caddy with the lines of the manual, but over HTTP: no authority signs for a name of the test's."""
    found = re.search(r"```caddyfile\n(.*?)```", MANUAL.read_text(), re.S)
    assert found
    port = free_port()
    directory.mkdir()
    config = directory / "Caddyfile"
    site = found[1].replace("127.0.0.1:8384", f"{HOST}:{page_port}")
    site = site.replace("camera.example {", f"http://camera.example:{port}, http://{HOST}:{port} {{")
    config.write_text(f"{{\n\tadmin off\n}}\n{site}")
    environment = os.environ | {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    command = [program("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    with answering(command, port, environment) as client:
        yield client


@contextmanager
def answering(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[Client]:
    """A proxy, once it answers."""
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    client = Client(port)
    try:
        for _ in range(100):
            try:
                client.ask("/porch/healthz")
                break
            except OSError:
                time.sleep(0.1)
        yield client
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize("behind", [nginx, caddy])
def test_below_a_path_the_page_asks_for_the_token_and_works(
    behind: Behind, start: StartDaemon, subscriber: Subscriber, window: Browser, tmp_path: Path
) -> None:
    port = free_port()
    daemon = start(web={"enabled": True, "listen": f"{HOST}:{port}", "token": "always"}, source={"fps": 1})
    receive(subscriber, "state")
    token = TokenFile(daemon.state_dir).make()
    with behind(tmp_path / "proxy", port) as proxy:
        assert proxy.ask("/porch/api/v1/state").status == 401
        assert proxy.ask("/porch/api/v1/state", authorization=f"Bearer {token}").status == 200
        window.open(f"http://{HOST}:{proxy.port}/porch/")
        window.type("#token", "guess")
        window.click("button")
        window.until("document.querySelector('.problem')?.textContent.includes('not the token')")
        window.type("#token", token)
        window.click("button")
        window.until("document.getElementById('status')?.textContent === 'live'")
        window.until("document.querySelectorAll('#events li').length > 1")
        window.until("!document.getElementById('try-form').hidden")
        window.type("#files", str(PICTURES_DIR / NAMES[0]))
        window.until("document.querySelector('#tried .top li')")
        assert (
            window.run("return document.querySelector('#tried .top li span').textContent") in RIGHT[NAMES[0]]
        )
        window.click("#logout button")
        window.until("document.getElementById('token')")
        complaints = [line for line in window.complaints() if "[DOM]" not in line]
        assert [line for line in complaints if "401" not in line] == []


@pytest.mark.parametrize("behind", [nginx, caddy])
def test_a_name_that_is_not_the_pages_is_refused(
    behind: Behind, start: StartDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    port = free_port()
    start(web={"enabled": True, "listen": f"{HOST}:{port}", "hosts": ["camera.example"]})
    receive(subscriber, "state")
    with behind(tmp_path / "proxy", port) as proxy:
        refused = proxy.ask("/porch/api/v1/state", host="evil.example")
        # Caddy knows its own sites: it answers another name itself, and with nothing.
        assert (refused.status, refused.body) == (200, b"") if behind is caddy else refused.status == 421
        assert proxy.ask("/porch/api/v1/state", host=f"camera.example:{proxy.port}").status == 401
