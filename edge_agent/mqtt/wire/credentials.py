"""The address, client id, password and TLS context of a connection, made from the configuration."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config.address import broker_place, host_with_port
from edge_agent.config.schema import MqttConfig, TlsConfig
from edge_agent.mqtt.wire.status import BrokerConnectionError, Trouble, reason
from edge_agent.system.text import printable
from edge_agent.system.tls import client_context

if TYPE_CHECKING:
    import ssl

_LONGEST_PASSWORD_BYTES = 65535  # what MQTT can carry


def each_broker(config: MqttConfig) -> tuple[MqttConfig, ...]:
    """Return the settings of each broker, as if it were the only one, in the order of `mqtt.hosts`."""
    if not config.hosts:
        return (config,)
    places = (broker_place(text) for text in config.hosts)
    return tuple(
        dataclasses.replace(config, hosts=(), host=host, port=port or config.port) for host, port in places
    )


def port(config: MqttConfig) -> int:
    """Return the port to connect to."""
    return config.port or (8883 if config.tls.enabled else 1883)


def address(config: MqttConfig) -> str:
    """Return `host:port`, for people."""
    return host_with_port(config.host, port(config))


def client_id(config: MqttConfig, device_id: str) -> str:
    """Return the MQTT client id of the agent on that device."""
    return config.client_id or f"edge-agent-{device_id}"


def password(config: MqttConfig, environment: Mapping[str, str]) -> str:
    """Return the password: from `password_file` if set, read again each time, else from the configuration.

    A bare file name is looked up in systemd's $CREDENTIALS_DIRECTORY where there is one. A newline at the end
    of the file does not count, nor does a byte order mark. Raises BrokerConnectionError (LOCAL), without the
    bare name: it may be the password itself.
    """
    path = config.password_file
    if path is None:
        return str(config.password)
    name = f"mqtt.password_file {printable(path)}"
    if len(path.parts) == 1:
        name = "the credential that mqtt.password_file names (a password belongs into mqtt.password)"
        path = Path(environment.get("CREDENTIALS_DIRECTORY", "")) / path
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_PASSWORD_BYTES + 1)
    except OSError as error:
        raise BrokerConnectionError(Trouble.LOCAL, f"{name}: {reason(error)}") from error
    if (found := _not_a_password(content)) is not None:
        raise BrokerConnectionError(Trouble.LOCAL, f"{name} {found}")
    return content.decode("utf-8-sig").rstrip("\r\n")


def _not_a_password(content: bytes) -> str | None:
    """What is wrong with the content of a password file; it is not shown."""
    if len(content) > _LONGEST_PASSWORD_BYTES:
        return f"holds more than {_LONGEST_PASSWORD_BYTES} bytes: a password stands alone in its file"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        return "is not UTF-8: it looks like UTF-16, so save it again as UTF-8"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "is not UTF-8: save it again as UTF-8"
    return None


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return TLS 1.2 or later that checks the broker's certificate and name; no setting turns that off.

    Raises BrokerConnectionError (LOCAL) if a file is missing, or is no certificate or key.
    """
    try:
        context = client_context(config.ca_file)
    except OSError as error:
        raise BrokerConnectionError(
            Trouble.LOCAL, f"mqtt.tls.ca_file {config.ca_file}: {reason(error)}"
        ) from error
    if config.cert_file:
        try:
            # An encrypted key would make OpenSSL ask on the terminal: give it an empty passphrase instead.
            context.load_cert_chain(config.cert_file, config.key_file, password="")
        except OSError as error:
            files = f"mqtt.tls.cert_file {config.cert_file}, key_file {config.key_file or config.cert_file}"
            raise BrokerConnectionError(Trouble.LOCAL, f"{files}: {reason(error)}") from error
    return context
