"""Lowering: from a frozen TorchScript module to the plan that the xnnpack engine runs, and its weights."""
