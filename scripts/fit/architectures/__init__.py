"""The public models, built from packages with random weights, in an environment of their own."""
