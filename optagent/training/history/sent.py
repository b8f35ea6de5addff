"""Columns to send: those that a caller gives of a row, beside which a version computes its history."""

from optagent.training.columns import Kind
from optagent.training.encoding import Schema


def columns_to_send(schema: Schema) -> dict[str, Kind | None]:
    """The columns that a file of rows needs, with the kinds of features and numeric times, None for others."""
    plan = schema.history
    kinds: dict[str, Kind | None] = {column.name: column.kind for column in schema.columns}
    if plan is None:
        return kinds
    others: dict[str, Kind | None] = dict.fromkeys(plan.columns, Kind.NUMERIC)
    others |= {name: None for name in (plan.key,) if name is not None}
    others[plan.time] = Kind.NUMERIC if plan.numeric_time else None
    return {name: kind for name, kind in {**others, **kinds}.items() if name not in plan.names}
