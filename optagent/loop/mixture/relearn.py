"""Relearning of a mixture: the archived rows give its state again, pass by pass and bit for bit, or without some."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Rows
from optagent.domain.audit import AuditEntry
from optagent.domain.mixture import BEGAN, FORGOT, JOINED, RETIRED, MixtureEvent, MixtureRecord
from optagent.errors import InvalidData
from optagent.loop.mixture.answered_rows import read_learned_table, unpack_table, within_ranges
from optagent.mixing.learner import MixtureLearner, state_digest
from optagent.ports import Observations


@dataclass(frozen=True, slots=True)
class MixtureReplay:
    """The number of passes and rows that were learned again, the digests of the audit log that came out the same, and
    the first difference as text, "" for none."""

    model_id: str
    passes: int
    rows: int
    digests: int
    difference: str = ""

    @property
    def is_same(self) -> bool:
        return not self.difference


def replay_mixture(record: MixtureRecord, observations: Observations, logged: Sequence[AuditEntry]) -> MixtureReplay:
    """Learns the archived rows again, and compares every logged digest and the state in the journal.

    `logged` are the audit entries of the model's weights. Rows of a pass that have left the archive are a difference.
    """
    digests: dict[int, set[str]] = {}
    for entry in logged:
        if int(entry.detail["passes"]) >= _first_replayed(record):
            digests.setdefault(int(entry.detail["passes"]), set()).add(str(entry.detail["digest"]))
    passes = rows = same = 0
    learner = _first_learner(record)
    for number, learner in relearn(record, observations):
        passes, rows, digest = number, learner.rows, state_digest(learner.to_plain())
        for other in digests.pop(number, set()):
            if other != digest:
                text = f"pass {number}: the log has {other[:12]}, the rows give {digest[:12]}"
                return MixtureReplay(record.model_id, passes, rows, same, text)
            same += 1
    expected, digest = state_digest(record.state), state_digest(learner.to_plain())
    difference = "" if digest == expected else f"the journal has {expected[:12]}, the archived rows give {digest[:12]}"
    return MixtureReplay(record.model_id, passes, rows, same, difference)


def relearn(record: MixtureRecord, observations: Observations) -> Iterator[tuple[int, MixtureLearner]]:
    """The learner after each pass, from the beginning, without the rows that are to be forgotten.

    Starts with pass 0, before any row. Raises InvalidData where a record holds no beginning.
    """
    table, learner = _all_learned(record, observations), _first_learner(record)
    yield 0, learner
    numbers = np.zeros(0, dtype=np.int64) if table is None else table["pass"].to_numpy()
    events = [event for event in record.events if event.kind in (JOINED, RETIRED)]
    for number in range(1, record.passes + 1):
        while events and events[0].passes < number:
            _apply(learner, events.pop(0))
        places = np.flatnonzero(numbers == number)
        if table is not None and len(places):
            for _, rows in read_learned_table(table.take(pa.array(places)), learner.outputs).runs():
                learner.learn(rows)
        yield number, learner
    for event in events:
        _apply(learner, event)


def _first_learner(record: MixtureRecord) -> MixtureLearner:
    beginning = next((event for event in record.events if event.kind == BEGAN), None)
    if beginning is None:
        raise InvalidData(f"the journal of {record.model_id}'s mixture does not say with which slots it began")
    state = record.state
    learner = MixtureLearner.from_plain(state)
    return MixtureLearner(
        learner.task, beginning.detail["slots"], learner.outputs, float(state["low"]), float(state["high"])
    )


def _first_replayed(record: MixtureRecord) -> int:
    """The first pass whose logged digests can come out again: those before rows were forgotten cannot."""
    return max((event.passes for event in record.events if event.kind == FORGOT), default=0)


def _apply(learner: MixtureLearner, event: MixtureEvent) -> None:
    change = learner.add_slot if event.kind == JOINED else learner.remove_slot
    change(str(event.detail["slot"]))


def _all_learned(record: MixtureRecord, observations: Observations) -> pa.Table | None:
    """All rows that were learned, each once, in the order in which they were, None for none."""
    pending = unpack_table(record.pending)
    tables = [*observations.learned_rows(record.model_id, -np.inf), *([] if pending is None else [pending])]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    order = pc.sort_indices(table, sort_keys=[("pass", "ascending"), ("time", "ascending"), ("id", "ascending")])
    table = table.take(order)
    return table.filter(pa.array(_first_of_id(table) & ~within_ranges(_times(table), record.forgotten)))


def _first_of_id(table: pa.Table) -> np.ndarray:
    """(rows,): the first row of each id; a pass that was archived twice counts once."""
    codes = pc.dictionary_encode(table["id"]).combine_chunks().indices.to_numpy()
    first = np.zeros(len(codes), dtype=np.bool_)
    first[np.unique(codes, return_index=True)[1]] = True
    return first


def _times(table: pa.Table) -> Rows:
    times: Rows = table["time"].cast(pa.int64()).to_numpy()
    return times
