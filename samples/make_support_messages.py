"""Write the sample data of `bedplate demo` into a folder.

python samples/make_support_messages.py FOLDER [--seed 7] [--rows 1800]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bedplate.demo_data import ROWS, SEED, write


def main() -> None:
    parser = argparse.ArgumentParser(description="Write train.csv, holdout.csv and incoming.csv: support messages.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed gives the same bytes (%(default)s)")
    parser.add_argument("--rows", type=int, default=ROWS, help="labeled messages in both files together (%(default)s)")
    arguments = parser.parse_args()
    files = write(arguments.folder, seed=arguments.seed, rows=arguments.rows)
    for path in (files.train, files.holdout, files.incoming):
        print(path)


if __name__ == "__main__":
    main()
