"""`edge-agent model install`: puts a model in the place of a running agent's, and back where it is worse."""
