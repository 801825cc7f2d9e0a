"""Python objects as cloudpickles: lambdas, closures and local classes too."""
