"""Files of PyTorch, read and written without torch: TorchScript archives, state dicts, safetensors."""
