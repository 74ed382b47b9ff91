"""An audit of a dump and of predictions by the user's own columns; nothing here infers who a person is."""

__all__ = ["by_group", "cells", "comparing", "data", "detection", "head", "skin"]
