"""The version of the library, which every result states."""

__version__ = "0.1.0"
