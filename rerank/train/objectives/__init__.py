"""Training objectives, one file each; `registry` lists them without importing torch."""
