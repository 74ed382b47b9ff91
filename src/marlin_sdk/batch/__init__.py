"""The batch engine that fills a dump: worker processes, batches across videos."""

__all__ = ["estimate", "local", "progress", "ray", "recipe", "run", "workers"]
