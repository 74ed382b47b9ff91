"""Videos to shards of cropped and parsed faces."""

__all__ = ["config", "folder", "run", "shards", "split"]
