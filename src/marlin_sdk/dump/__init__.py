"""The files of a dump of features: reading and writing, without torch."""

__all__ = ["dataset", "lock", "manifest", "plan", "reading", "recovery", "relabel", "settings", "writers"]
