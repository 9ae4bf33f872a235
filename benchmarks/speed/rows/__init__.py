"""The rows of the table, a module for each subject; importing them registers them."""

from rows.registry import ROWS, row

__all__ = ["ROWS", "row"]
