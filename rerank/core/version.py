"""The version, for files and for people."""

__version__ = "0.1.0"
