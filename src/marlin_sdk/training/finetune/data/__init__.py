"""Labelled clips for fine-tuning: a table's rows on prepared faces, as data sets, divided without a shared group."""

__all__ = ["clips", "division", "placing", "preparing", "table", "training_clips"]
