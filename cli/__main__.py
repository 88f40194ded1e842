"""`python -m rerank_cli`, which is what `torchrun -m rerank_cli` runs."""

from rerank_cli.app import program

if __name__ == "__main__":
    program()
