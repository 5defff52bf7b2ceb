"""Writes a plan as a TorchScript archive, which torch loads as a module, without torch."""
