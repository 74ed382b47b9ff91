"""Prepare videos for training: shards of cropped and parsed faces."""

__all__ = ["config", "folder", "run", "shards", "sources", "split"]
