"""One file per command: files or arrays in, one answer out."""
