"""Python objects as joblib pickles: compression, arrays, and functions by cloudpickle."""
