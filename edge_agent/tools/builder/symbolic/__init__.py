"""The code of a TorchScript archive, evaluated symbolically: operations on activations become a plan."""
