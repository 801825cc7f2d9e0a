"""Dicts of NumPy arrays as safetensors; runs no code."""
