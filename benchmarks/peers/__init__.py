"""Other inference libraries beside the agent's engines: `python -m benchmarks.peers`."""
