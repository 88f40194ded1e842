"""The version, for files and for people."""

VERSION = "0.1.0"
