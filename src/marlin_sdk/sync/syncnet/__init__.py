"""LSE-D and LSE-C: SyncNet v2 with a user's own weights."""

__all__ = ["measure", "mfcc", "network"]
