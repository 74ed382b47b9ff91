"""A folder of features as it lies on the disk: read and written without torch."""

__all__ = ["dataset", "lock", "manifest", "plan", "reading", "recovery", "settings", "writers"]
