"""The parts of `edge_agent.model.lower`."""
