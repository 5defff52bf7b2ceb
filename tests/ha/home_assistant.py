"""The real Home Assistant, with its MQTT integration and the shipped automations, in `build-root`'s root.

It runs without its web interface, unless pictures of that are to be taken: a stand-in takes the place of the
package that holds the pages. The service
`notify.notify`, which the shipped automations call, writes to a file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.ha.ending import end
from tests.mqtt.brokers import HOST, answers, free_port

_START_S = 180.0
_STOP_S = 30.0
_KEY = "0" * 128
_TOKEN_ID = "0" * 32
_USER_ID = "1" * 32
_MADE = "2025-01-01T00:00:00+00:00"
_TEN_YEARS_S = 10 * 365 * 24 * 3600

_NOTIFY = """
from homeassistant.components.notify import BaseNotificationService

def get_service(hass, config, discovery_info=None):
    return Notes()

class Notes(BaseNotificationService):
    def send_message(self, message="", **kwargs):
        with open("{file}", "a") as file:
            print(message, file=file)
"""


class HomeAssistant:
    """One Home Assistant; `start` again after `stop` keeps what it knows."""

    def __init__(
        self,
        root: Path,
        release: str,
        directory: str,
        broker_port: int,
        automations: Path,
        *,
        pages: str = "",
    ) -> None:
        """`directory` is for its files, as seen in `root`; it is emptied. `pages` is where the package of its
        web interface lies."""
        self.port = free_port()
        self._root = root
        self._release = release
        self._directory = directory
        self._files = root / directory.lstrip("/")
        self._notes = self._files / "notes"
        self._process: subprocess.Popen[bytes] | None = None
        shutil.rmtree(self._files, ignore_errors=True)
        (self._files / ".storage").mkdir(parents=True)
        self._modules = f"{directory}:{pages}" if pages else directory
        if not pages:
            self._write(
                "hass_frontend/__init__.py", "import pathlib\nwhere = lambda: pathlib.Path(__file__).parent\n"
            )
        self._write("custom_components/notes/__init__.py", "")
        self._write("custom_components/notes/notify.py", _NOTIFY.format(file=f"{directory}/notes"))
        self._write(
            "custom_components/notes/manifest.json",
            json.dumps(
                {"domain": "notes", "name": "Notes", "version": "1.0", "documentation": "", "codeowners": []}
            ),
        )
        self._write("automations.yaml", automations.read_text(encoding="utf-8"))
        self._write(
            "configuration.yaml",
            f"http: {{server_host: {HOST}, server_port: {self.port}}}\n"
            "api:\n"
            f"{'frontend:' if pages else ''}\n"
            "automation: !include automations.yaml\n"
            "notify: [{platform: notes, name: notify}]\n"
            "logger: {default: warning}\n",
        )
        self._store("core.config_entries", _config_entries(broker_port), minor_version=5)
        self._store("auth", _auth())
        self._store("onboarding", {"done": ["user", "core_config", "analytics", "integration"]}, version=4)

    @property
    def log(self) -> str:
        return (self._files / "out").read_text(errors="replace")

    @property
    def notes(self) -> list[str]:
        """What automations have notified of so far."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def start(self) -> None:
        """Return when it has started, automations included."""
        command = ["chroot", str(self._root), "/usr/bin/env", f"PYTHONPATH={self._modules}"]
        command += [f"/opt/ha-{self._release}/bin/hass", "--config", self._directory, "--skip-pip"]
        with (self._files / "out").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.wait(lambda: answers(self.port) and self.get("config").get("state") == "RUNNING", _START_S)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            end(self._process, signal.SIGTERM, _STOP_S)
            self._process = None

    def states(self) -> dict[str, dict[str, Any]]:
        """Every entity, by its id."""
        return {state["entity_id"]: state for state in self.get("states")}

    def state(self, entity: str) -> str:
        """The entity's state; empty where there is no such entity."""
        return str(self.states().get(entity, {}).get("state", ""))

    def call(self, service: str, **data: Any) -> None:
        """Call a service, for instance `button.press`."""
        self._request(f"services/{service.replace('.', '/')}", data)

    def template(self, template: str) -> str:
        """Render a template."""
        return self._request("template", {"template": template}).decode()

    def get(self, path: str) -> Any:
        """The answer of its REST API."""
        return json.loads(self._request(path))

    def raw(self, path: str) -> bytes:
        """What a path that an entity names holds, for instance its picture."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Return as soon as `condition` holds; show its log where it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            try:
                if condition():
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"not within {timeout_s} s; Home Assistant says:\n{self.log[-6000:]}")

    def tokens(self) -> str:
        """What the web interface keeps in the browser of somebody who has signed in, as JSON."""
        url = f"http://{HOST}:{self.port}"
        kept = {"hassUrl": url, "clientId": f"{url}/", "access_token": _token(), "token_type": "Bearer"}
        expires_ms = 1000 * int(time.time() + _TEN_YEARS_S)
        return json.dumps(kept | {"refresh_token": "", "expires": expires_ms, "expires_in": _TEN_YEARS_S})

    def _request(self, path: str, data: dict[str, Any] | None = None) -> bytes:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/api/{path}",
            data=None if data is None else json.dumps(data).encode(),
            headers={"Authorization": f"Bearer {_token()}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def _write(self, name: str, text: str) -> None:
        path = self._files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _store(self, key: str, data: dict[str, Any], version: int = 1, minor_version: int = 1) -> None:
        whole = {"version": version, "minor_version": minor_version, "key": key, "data": data}
        self._write(f".storage/{key}", json.dumps(whole))


def _config_entries(broker_port: int) -> dict[str, Any]:
    """The MQTT integration, set up for the test's broker as its dialogue would do it."""
    entry: dict[str, Any] = {
        "created_at": _MADE,
        "modified_at": _MADE,
        "data": {"broker": HOST, "port": broker_port, "discovery": True, "discovery_prefix": "homeassistant"},
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "mqtt",
        "entry_id": "2" * 26,
        "minor_version": 1,
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "broker",
        "unique_id": None,
        "version": 1,
    }
    return {"entries": [entry]}


def _auth() -> dict[str, Any]:
    """An owner with a token that does not expire."""
    user = {
        "id": _USER_ID,
        "group_ids": ["system-admin"],
        "is_owner": True,
        "is_active": True,
        "name": "owner",
        "system_generated": False,
        "local_only": False,
    }
    token = {
        "id": _TOKEN_ID,
        "user_id": _USER_ID,
        "client_id": None,
        "client_name": "test",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": _MADE,
        "access_token_expiration": float(_TEN_YEARS_S),
        "token": "3" * 128,
        "jwt_key": _KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": "2025.1.0",
    }
    groups = [{"id": f"system-{name}", "name": name} for name in ("admin", "users", "read-only")]
    return {"users": [user], "groups": groups, "credentials": [], "refresh_tokens": [token]}


def _token() -> str:
    """The access token, signed with the key of `_auth`."""
    now_s = int(time.time())
    claims = {"iss": _TOKEN_ID, "iat": now_s, "exp": now_s + _TEN_YEARS_S}
    signed = ".".join(
        _encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    )
    return f"{signed}.{_encoded(hmac.digest(_KEY.encode(), signed.encode(), hashlib.sha256))}"


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
