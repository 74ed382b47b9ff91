"""Fine-tuning: an encoder and a head on labelled clips."""

__all__ = ["config", "data", "protocol", "run"]
