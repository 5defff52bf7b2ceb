"""Tests of edge_agent.tools.fleet."""
