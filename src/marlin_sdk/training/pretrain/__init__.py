"""Pretraining of a masked autoencoder on prepared faces."""

__all__ = ["config", "data", "presets", "publish", "run"]
