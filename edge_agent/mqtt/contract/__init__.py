"""The MQTT contract: what is published and received, as subscribers see it. Does no I/O. In reading order:

- `topics`: the topics of one device.
- `message`: one message to send, and one received.
- `payloads`: a dataclass for each payload, and its JSON.
- `homeassistant`: the discovery message, made of all of these.
"""
