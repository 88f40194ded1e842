"""One file for each kind of file that embeddings are read from; see `registry`."""
