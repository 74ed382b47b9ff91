"""Pages of dumps, probes and audits, each one HTML file."""

__all__ = ["audit", "crops", "page", "probe"]
