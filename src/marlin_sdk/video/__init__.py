"""Frames from anything, and the arithmetic of windows."""
