"""Training on pictures."""
