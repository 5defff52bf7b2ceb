"""Prints each change of the label and misses none: python subscriber.py broker.home --device porch."""

import argparse
import json
from collections import deque

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DAY_S = 24 * 3600


class Changes:
    """Receives a device's events. An event that comes again has the same `seq`."""

    def __init__(self, topic):
        self.topic = topic
        self.seen = deque(maxlen=1000)

    def on_connect(self, client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", flush=True)
        else:
            client.subscribe(self.topic, qos=1)

    def on_message(self, _client, _userdata, message):
        event = json.loads(message.payload)
        if event["seq"] in self.seen:
            return
        self.seen.append(event["seq"])
        print(f"{event['ts']} {event['from']} -> {event['to']} ({event['score']:.0%})", flush=True)


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
    client.on_message = changes.on_message
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = DAY_S
    client.connect(arguments.host, arguments.port, clean_start=False, properties=session)
    client.loop_forever()


if __name__ == "__main__":
    main()
