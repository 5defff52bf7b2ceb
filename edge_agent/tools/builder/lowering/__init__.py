"""The parts of `edge_agent.tools.builder.lowering.lower`."""
