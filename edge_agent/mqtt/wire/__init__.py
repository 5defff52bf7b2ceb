"""How messages travel: one connection to a broker at a time, on paho-mqtt. In reading order:

- `status`: the kinds of trouble, the error that carries one, and the connection's status.
- `credentials`: address, client id, password and TLS context, from the configuration.
- `guarded`: paho's client, with a deadline for connecting and a limit for packets.
- `connection`: one connection, from the first packet to the last.
- `dialer`: opens one in the MQTT version that the broker speaks.
- `size_limit`, `topic_limit`: learn which messages a broker does not take that only hangs up.
- `probe`, `clear_retained`: single connections for the commands, which have no publisher.
"""
