"""Training a network that makes lips for a sound: `marlin-sdk lipsync train`."""

__all__ = ["config", "data", "held_out", "learner", "losses", "run", "seen", "task"]
