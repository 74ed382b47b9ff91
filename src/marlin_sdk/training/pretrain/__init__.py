"""A masked autoencoder, trained on prepared faces."""

__all__ = ["config", "data", "presets", "publish", "run"]
