"""An MQTT broker on a free loopback port, in a process of its own: for a demo without one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from edge_agent.errors import BrokerError
from edge_agent.system.child import python_module

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_PORT_ATTEMPTS = 5


@contextlib.contextmanager
def embedded_broker() -> Iterator[int]:
    """Run a broker (amqtt, MQTT 3.1.1, open to every process of this machine); gives its port.

    It leaves no file behind, and ends with this process even if that is killed. Raises BrokerError.
    """
    if importlib.util.find_spec("amqtt") is None:
        raise BrokerError("the embedded broker needs amqtt: pip install 'edge-agent[demo]', or name a broker")
    command = python_module("edge_agent.tools.demo.broker")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield _reported_port(child)
        finally:
            _stop(child)


def _reported_port(child: subprocess.Popen[bytes]) -> int:
    assert child.stdout is not None
    readable, _, _ = select.select([child.stdout], [], [], _START_TIMEOUT_S)
    answer = child.stdout.readline() if readable else b""
    if not answer:
        raise BrokerError(f"the embedded broker did not start within {_START_TIMEOUT_S:.0f} s")
    reported = json.loads(answer)
    if "error" in reported:
        raise BrokerError(f"the embedded broker did not start: {reported['error']}")
    return int(reported["port"])


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()  # the child ends when its input does
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()


async def serve() -> None:
    """Start the broker, print its port as JSON, and stop it when standard input ends."""
    from amqtt.broker import Broker

    for attempt in range(_PORT_ATTEMPTS):
        port = _free_port()
        broker = Broker(_config(port))
        try:
            await broker.start()
            break
        except Exception as error:  # amqtt wraps the failure in exceptions of its own
            if attempt == _PORT_ATTEMPTS - 1:
                print(json.dumps({"error": str(error)}), flush=True)
                return
    print(json.dumps({"port": port}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await broker.shutdown()


def _config(port: int) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{_HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(serve())
