"""marlin-pytorch 0.3.4 in an environment of its own. Nothing in here is part of marlin-sdk, and src/ never sees it."""
