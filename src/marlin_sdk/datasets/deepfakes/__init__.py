"""Readers of data sets of manipulated faces."""

__all__ = ["av_deepfake1m", "celeb_df", "dfdc", "faceforensics"]
