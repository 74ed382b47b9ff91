"""Reading video frames and sound with their times, and writing videos."""

__all__ = ["folders", "reader", "sound", "sources", "writer"]
