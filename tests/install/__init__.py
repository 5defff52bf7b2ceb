"""Another model for the agent: fetched, checked, tried."""
