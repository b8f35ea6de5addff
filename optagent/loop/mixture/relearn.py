"""Relearning of a mixture: the archived rows give its state again, pass by pass and bit for bit, or without some."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Mask, Rows
from optagent.domain.audit import AuditEntry
from optagent.domain.mixture import BEGAN, FORGOT, JOINED, RETIRED, MixtureEvent, MixtureRecord
from optagent.domain.mixture_status import MixtureReplay
from optagent.errors import InvalidData
from optagent.loop.mixture.answered_rows import read_learned_table, unpack_table, within_ranges
from optagent.loop.mixture.learn import apply_slot_event
from optagent.mixing.learner import MixtureLearner, state_digest
from optagent.ports import Observations

_MARGIN_S = 3600.0


def replay_mixture(record: MixtureRecord, observations: Observations, logged: Sequence[AuditEntry]) -> MixtureReplay:
    """Learns the archived rows again, and compares every logged digest and the state in the journal.

    `logged` are the audit entries of the model's weights. Those of before rows were forgotten cannot come out again.
    """
    table = _all_learned(record, observations)
    rows = 0 if table is None else table.num_rows
    if gone := int(record.state["rows"]) - rows:
        return MixtureReplay(record.model_id, record.passes, rows, 0, _describe_gone(record, table, gone), gone)
    given: dict[int, set[str]] = {}
    learner = _first_learner(record)
    for number, learner in _relearn_table(record, table):
        given.setdefault(number, set()).add(state_digest(learner.to_plain()))
    same = 0
    for entry in _comparable(logged, record):
        number, digest = int(entry.detail["passes"]), str(entry.detail["digest"])
        if digest not in given.get(number, set()):
            others = ", ".join(sorted(each[:12] for each in given.get(number, set()))) or "nothing"
            text = f"pass {number}: the log has {digest[:12]}, the rows give {others}"
            return MixtureReplay(record.model_id, number, learner.rows, same, text)
        same += 1
    expected, digest = state_digest(record.state), state_digest(learner.to_plain())
    difference = "" if digest == expected else f"the journal has {expected[:12]}, the archived rows give {digest[:12]}"
    return MixtureReplay(record.model_id, record.passes, learner.rows, same, difference)


def count_gone(record: MixtureRecord, observations: Observations) -> int:
    """The number of learned rows that have left the archive, erased or past their retention."""
    table = _all_learned(record, observations)
    return int(record.state["rows"]) - (0 if table is None else table.num_rows)


def relearn(record: MixtureRecord, observations: Observations) -> Iterator[tuple[int, MixtureLearner]]:
    """The learner after each pass, from the beginning, without the rows that are to be forgotten.

    Starts with pass 0, before any row; a pass comes again after each slot that joins or retires behind it. Raises
    InvalidData where a record holds no beginning.
    """
    yield from _relearn_table(record, _all_learned(record, observations))


def catch_up(
    learner: MixtureLearner, before: MixtureRecord, record: MixtureRecord, observations: Observations
) -> MixtureLearner:
    """The learner of a journal, brought on to a later one of the same mixture, whose forgotten rows are left out."""
    is_in_order = record.looked_at >= before.looked_at
    table = _all_learned(record, observations, before.open_since - _MARGIN_S if is_in_order else -np.inf)
    events = record.events[len(before.events) :]
    for _ in _learn_passes(learner, range(before.passes + 1, record.passes + 1), table, events):
        pass
    return learner


def _relearn_table(record: MixtureRecord, table: pa.Table | None) -> Iterator[tuple[int, MixtureLearner]]:
    yield from _learn_passes(_first_learner(record), range(record.passes + 1), table, record.events)


def _learn_passes(
    learner: MixtureLearner, passes: range, table: pa.Table | None, changes: Sequence[MixtureEvent]
) -> Iterator[tuple[int, MixtureLearner]]:
    numbers = np.zeros(0, dtype=np.int64) if table is None else table["pass"].to_numpy()
    events = [event for event in changes if event.kind in (JOINED, RETIRED)]
    while events and events[0].passes < passes.start:
        apply_slot_event(learner, events.pop(0))
    for number in passes:
        places = np.flatnonzero(numbers == number)
        if table is not None and len(places):
            for _, rows in read_learned_table(table.take(pa.array(places)), learner.outputs).runs():
                learner.learn(rows)
        yield number, learner
        while events and events[0].passes <= number:
            apply_slot_event(learner, events.pop(0))
            yield number, learner


def _describe_gone(record: MixtureRecord, table: pa.Table | None, gone: int) -> str:
    """The rows that have left the archive, in words; a negative number of them are too many."""
    if gone < 0:
        return f"the archive has {-gone:,} rows more than the journal has learned"
    passes = record.passes - (0 if table is None else len(pc.unique(table["pass"])))
    whole = f", {passes:,} of its {record.passes:,} passes wholly" if passes else ""
    return (
        f"{gone:,} of {int(record.state['rows']):,} learned rows have left the archive, erased or past their retention"
        f"{whole}: the weights cannot be made again from the rest"
    )


def _comparable(logged: Sequence[AuditEntry], record: MixtureRecord) -> Iterator[AuditEntry]:
    """The entries of weights that were made since rows were forgotten for the last time."""
    event = next((event for event in reversed(record.events) if event.kind == FORGOT), None)
    for entry in logged:
        if event is None or int(entry.detail["passes"]) > event.passes or entry.at > event.at:
            yield entry


def _first_learner(record: MixtureRecord) -> MixtureLearner:
    beginning = next((event for event in record.events if event.kind == BEGAN), None)
    if beginning is None:
        raise InvalidData(f"the journal of {record.model_id}'s mixture does not say with which slots it began")
    state = record.state
    learner = MixtureLearner.from_plain(state)
    return MixtureLearner(
        learner.task, beginning.detail["slots"], learner.outputs, float(state["low"]), float(state["high"])
    )


def _all_learned(record: MixtureRecord, observations: Observations, since: float = -np.inf) -> pa.Table | None:
    """The rows that were learned, as often as they were, in the order in which they were, None for none."""
    pending = unpack_table(record.pending)
    tables = [*observations.learned_rows(record.model_id, since), *([] if pending is None else [pending])]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    order = pc.sort_indices(table, sort_keys=[("pass", "ascending"), ("time", "ascending"), ("id", "ascending")])
    table = table.take(order)
    return table.filter(pa.array(_first_in_pass(table) & ~within_ranges(_times(table), record.forgotten)))


def _first_in_pass(table: pa.Table) -> Mask:
    """(rows,): the first row of each id in its pass; a pass that was archived twice counts once.

    Rows are in the order of passes, times and ids, and a pass learns an id once.
    """
    codes = pc.dictionary_encode(table["id"]).combine_chunks().indices.to_numpy().astype(np.int64)
    passes: Rows = table["pass"].to_numpy()
    first = np.zeros(len(codes), dtype=np.bool_)
    first[np.unique(passes * (int(codes.max(initial=0)) + 1) + codes, return_index=True)[1]] = True
    return first


def _times(table: pa.Table) -> Rows:
    times: Rows = table["time"].cast(pa.int64()).to_numpy()
    return times
