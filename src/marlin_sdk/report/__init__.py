"""Pages of dumps, probes, audits and distances, each one HTML file."""

__all__ = ["audit", "crops", "frechet", "page", "probe"]
