"""A stress test: the same clips again and again, each time a little worse, to see what the model loses."""

__all__ = ["appearance", "frames", "perturbations", "results", "run", "watching"]
