"""Probes: what frozen features know of a label, beside what a constant, chance and the file's own facts know."""

__all__ = [
    "attentive",
    "baselines",
    "card",
    "cells",
    "facts",
    "head_file",
    "heads",
    "outcome",
    "protocol",
    "run",
    "samples",
    "splits",
    "targets",
]
