"""`python -m rerank`: the command line."""

from rerank_cli.app import main

if __name__ == "__main__":
    main()
