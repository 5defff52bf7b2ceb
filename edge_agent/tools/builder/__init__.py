"""Building, lowering and verifying models. Uses torch, and the daemon imports none of it."""
