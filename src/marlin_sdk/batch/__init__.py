"""Many videos at once."""
