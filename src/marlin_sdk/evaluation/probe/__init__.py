"""Probes: what frozen features know of a label, beside what a constant, chance and the file's own facts know."""

__all__ = [
    "attentive",
    "baselines",
    "card",
    "cells",
    "head_file",
    "heads",
    "outcome",
    "run",
    "samples",
    "splits",
    "targets",
]
