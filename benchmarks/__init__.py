"""Benchmarks of marlin-sdk against marlin-pytorch: `python -m benchmarks` (see README.md)."""
