"""Public data sets of faces, each read to one table of clips with typed labels, splits and groups."""

from marlin_sdk.datasets.reading import read
from marlin_sdk.datasets.table import Clip, Table

__all__ = ["Clip", "Table", "catalogue", "checking", "listing", "read", "reading", "splits", "table", "unpacked"]
