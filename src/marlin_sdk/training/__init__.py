"""Pretraining: a folder of videos -> shards -> masks -> a model (extra `[train]`)."""
