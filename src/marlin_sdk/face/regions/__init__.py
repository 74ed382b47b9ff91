"""The parts of a face, pixel by pixel: parsers, and the regions that masking tells apart."""

__all__ = ["labels", "landmarks", "parsers", "precomputed"]
