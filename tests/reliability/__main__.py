"""`python -m tests.reliability [--seed N] [WORDS]`: every case of every row, as a table."""

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Prints the table; the status is 1 where something failed."""
    from tests.reliability import rows
    from tests.reliability.matrix import ROWS, run

    assert rows
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only rows with one of these in their title")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=0, help="of each row; all by default")
    options = parser.parse_args()
    failures = 0
    print("| row | cases | failures | time |\n|---|---|---|---|", flush=True)
    for title, which in ROWS.items():
        if options.words and not any(word in title for word in options.words):
            continue
        tally = run(which, count=options.count, seed=options.seed)
        failures += len(tally.failed)
        print(tally.line(), flush=True)
        for text in tally.failed[:20]:
            print(f"    {text}", file=sys.stderr, flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
