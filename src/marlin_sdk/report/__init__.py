"""A dump of features as one HTML page that a person can look through."""

__all__ = ["page"]
