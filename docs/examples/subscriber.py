"""Prints each change of the label and misses none: python subscriber.py broker.home --device porch."""

import argparse
import json
import sys
from collections import deque

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DAY_S = 24 * 3600
REMEMBERED = 1000


class Changes:
    """Receives a device's events. One that comes again has a `seq` and `ts` that were seen lately."""

    def __init__(self, topic):
        self.topic = topic
        self.seen = deque(maxlen=REMEMBERED)

    def on_connect(self, client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            complain(f"refused: {reason}")
        else:
            client.subscribe(self.topic, qos=1)

    def on_message(self, _client, _userdata, message):
        try:
            event = json.loads(message.payload)
            key = (event["seq"], event["ts"])
            line = f"{event['ts']} {event['from']} -> {event['to']} ({event['score']:.0%})"
        except (ValueError, TypeError, LookupError, RecursionError):
            complain(f"not an event, on {message.topic}: {message.payload[:80]}")
            return
        if key not in self.seen:
            self.seen.append(key)
            print(printable(line), flush=True)


def printable(text):
    """Escape what cannot be printed, or would steer the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def complain(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()

    changes = Changes(f"edge_agent/{arguments.device}/event")
    # Its own client id and a session that the broker keeps for a day: it later receives the events it missed.
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"changes-of-{arguments.device}",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    client.on_connect = changes.on_connect
    client.on_connect_fail = lambda *_: complain(f"no broker at {arguments.host}:{arguments.port} yet")
    client.on_message = changes.on_message
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = DAY_S
    client.connect_async(arguments.host, arguments.port, clean_start=False, properties=session)
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()
