"""Training a network that hears whether sound and mouth are in time: `marlin-sdk sync train`."""

__all__ = ["config", "data", "learner", "run", "sounds", "task"]
