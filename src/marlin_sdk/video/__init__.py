"""Frames from anything, with their times; and a writer of videos."""

__all__ = ["reader", "sources", "writer"]
