"""What to work on: files, folders, patterns and URLs, lists and tables, as videos with ids and labels."""

__all__ = ["tables", "videos"]
