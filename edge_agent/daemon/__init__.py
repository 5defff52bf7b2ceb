"""The process: puts the parts together, watches them, and ends them in reverse.

Begin with `agent`: it shows all parts and their order. `supervisor` is the main thread's loop, `reload` an
edit of the configuration, `service` systemd, `report` the payloads `health` and `info`, `remote` what MQTT
asks for.
"""
