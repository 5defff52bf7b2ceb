"""Files of PyTorch, read without torch: TorchScript archives, state dicts, safetensors."""
