"""marlin-pytorch 0.3.4 in its own environment. Nothing in here is part of marlin-sdk, and src/ never imports it."""
