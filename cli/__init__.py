"""The command line of `rerank`, shipped as `rerank_cli`: parse, one call, print."""
