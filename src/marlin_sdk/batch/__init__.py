"""The batch engine that fills a dump: inputs, worker processes, batches across videos."""

__all__ = ["estimate", "inputs", "local", "progress", "ray", "recipe", "run", "tables", "workers"]
