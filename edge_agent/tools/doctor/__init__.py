"""`edge-agent doctor`: what on this board would stop or slow the agent, and what to do about it."""
