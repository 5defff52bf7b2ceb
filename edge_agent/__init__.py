"""A camera-classification agent for ARM boards: frames in, labels over MQTT out, inside a memory budget."""

__version__ = "0.1.0"
