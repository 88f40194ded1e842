"""Which of the arrays in a file are the embeddings, and which are their ids; see `locate`.

One set of rules for every container (HDF5, npz, safetensors, torch files, parquet, tables, folders
of arrays), tried in a fixed order. What fits two ways is refused with the candidates listed;
nothing is guessed, and nothing is merged.
"""
