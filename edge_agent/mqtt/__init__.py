"""The way to the broker. In reading order:

- `contract`: the payloads, topics and discovery message, as subscribers see them.
- `wire`: one connection to a broker, and how to get one.
- `events`: the events that wait for the broker, and must not be lost.
- `mailbox`: everything else that waits to be sent.
- `session`: the order of sending during one connection.
- `publisher`: the thread that keeps a connection, and the only one that touches the network.
- `requests`: requests to the agent, and their answers.
- `link`: the agent's handle to all of it. The rest of the daemon needs `BrokerLink`, and `Outbox` to give it.

A module imports only from those above it.
"""
