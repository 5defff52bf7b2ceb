"""The bench: the same network run in several ways, each in fresh processes, as a table and a chart."""
