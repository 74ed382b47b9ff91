"""The engine that fills a dump: inputs, worker processes, batches over all videos."""

__all__ = ["estimate", "inputs", "local", "progress", "ray", "recipe", "run", "tables", "workers"]
