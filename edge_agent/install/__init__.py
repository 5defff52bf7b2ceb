"""Another model for the agent: fetched, checked, tried for a while, and given up again where it is worse."""
