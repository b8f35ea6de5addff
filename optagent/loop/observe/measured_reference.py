"""Reference of a refit: the holdout's rows as it reads them, with the predictions of the version measured on them.

A refit has learned these rows: its own predictions of them would look better than any that it will give, and every live
window would look worse than they do. The measured version has not learned them, and has the same recipe; its loss is a
little above that of the refit on new rows, so that a monitor alarms a little later, never sooner, than it should.
"""

from dataclasses import replace

import pyarrow as pa

from optagent.analysis.profile import make_profile
from optagent.arrays import Vector
from optagent.codec import encode
from optagent.loop.observe.reference import Reference, make_reference
from optagent.loop.observe.window_rows import observed_from_table
from optagent.training.predictor import Predictor


def make_measured_reference(
    rows: pa.Table, time: Vector | None, refit: Predictor, measured: Predictor, version: str
) -> Reference:
    """The reference of the refit `version`: predictions and importances are those of `measured`, and a note says so.

    `time` (rows,) are POSIX seconds, None for rows without an order.
    """
    reference = make_reference(rows, time, measured, version)
    prediction = reference.observed.prediction
    observed = replace(observed_from_table(rows, time, refit), prediction=prediction)
    importance = {name: reference.importance.get(name, 0.0) for name in refit.schema.names}
    number = str(refit.manifest.data.get("measured_as", ""))
    note = f"the reference's predictions are those of version {number}: version {version} has learned these rows"
    return replace(
        reference,
        schema=refit.schema,
        observed=observed,
        importance=importance,
        profile=encode(make_profile(observed)),
        notes=(*reference.notes, note),
    )
