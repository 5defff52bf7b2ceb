"""Architectures without torchvision: their code and structure, recorded once, without weights."""
