"""Python objects as dill pickles: lambdas, closures and interpreter state too."""
