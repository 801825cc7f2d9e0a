"""ONNX models, checked when written and when read; runs no code."""
