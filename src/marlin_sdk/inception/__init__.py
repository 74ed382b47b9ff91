"""The Inception network of the Fréchet Inception Distance, with weights of one's own, and its features of frames."""

__all__ = ["features", "network"]
