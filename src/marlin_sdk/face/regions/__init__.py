"""Face parsing: the parsers, and the face regions that masking distinguishes."""

__all__ = ["labels", "landmarks", "parsers", "precomputed", "tokens"]
