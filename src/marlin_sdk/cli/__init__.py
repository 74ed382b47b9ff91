"""The commands: parse, configure, call, exit."""
