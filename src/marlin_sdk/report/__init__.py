"""A report on a dump of features, as one HTML page."""

__all__ = ["page", "probe"]
