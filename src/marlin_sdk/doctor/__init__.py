"""What a machine has, what it lacks, and what to do about that."""

__all__ = ["checks", "finding"]
