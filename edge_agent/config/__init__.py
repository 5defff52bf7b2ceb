"""The configuration file: its schema, reading and checking it, watching it, and showing it without secrets.

Begin with `schema`: every setting with its default, limits and documentation. `loader` reads a file and finds
every problem in it; `live` is the configuration of a running agent; `changes` says what an edit takes.
"""
