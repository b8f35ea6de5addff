"""Splits of skfolio's CombinatorialPurgedCV as runs of rows, printed as JSON, for `test_combinatorial_folds.py`.

    cd tests/unit/training && uv run --no-project --with skfolio==1.12.2 skfolio_splits.py > skfolio_splits.json

skfolio is needed nowhere else.
"""

import json

import numpy as np

CASES = [(96, 8, 2, 0, 0), (100, 8, 2, 3, 2), (61, 6, 3, 2, 4), (50, 5, 4, 1, 0), (70, 7, 2, 0, 5)]
"""Rows, groups, groups that validate, purged rows, embargoed rows."""


def runs_of(rows: "np.ndarray") -> list[list[int]]:
    """The first row and the number of rows of each run of neighbours."""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [[int(part[0]), len(part)] for part in parts]


def main() -> None:
    from skfolio.model_selection import CombinatorialPurgedCV

    table = []
    for rows, groups, test, purged, embargo in CASES:
        splitter = CombinatorialPurgedCV(groups, test, purged_size=purged, embargo_size=embargo)
        splits = [
            [runs_of(train), runs_of(np.concatenate(valid))] for train, valid in splitter.split(np.zeros((rows, 1)))
        ]
        table.append({"case": [rows, groups, test, purged, embargo], "splits": splits})
    print("[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in table) + "\n]")


if __name__ == "__main__":
    main()
