"""Reading video frames with their times, and writing videos."""

__all__ = ["folders", "reader", "sources", "writer"]
