"""Only `_utils`."""
