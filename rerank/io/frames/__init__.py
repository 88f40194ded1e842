"""Frames of items made one vector each, and which of them count; see `pooling`."""
