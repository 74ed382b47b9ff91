"""The commands that train."""

__all__ = ["finetune", "prepare", "pretrain"]
