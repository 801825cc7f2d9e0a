"""NumPy arrays as .npy, dicts of arrays as .npz; runs no code."""
