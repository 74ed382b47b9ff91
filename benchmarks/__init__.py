"""The yardstick: marlin-sdk and marlin-pytorch, side by side. `python -m benchmarks` (see README.md)."""
