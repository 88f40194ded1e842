"""`python -m rerank`: the command line."""

from rerank_cli.app import program  # pyright: ignore[reportMissingImports]  a name that exists once installed

if __name__ == "__main__":
    program()
