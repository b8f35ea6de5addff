"""The arena's rules: nothing is known before its time, all begin alike, and the best calendar is named right."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.arrays import Matrix, Vector
from tests.performance.arena import synthetic
from tests.performance.arena.calendars import Calendar
from tests.performance.arena.entrant import Known, Outcome, replay
from tests.performance.arena.entrants import CALENDARS, NEVER, names_of
from tests.performance.arena.mixtures import CalendarMixture, recalibration
from tests.performance.arena.peers import AdwinTrigger, LastBlock
from tests.performance.arena.stream import Stream, stream_of
from tests.performance.arena.streams import StreamFiles, reason_to_leave_out
from tests.performance.arena.table import Answered, Score, best_in_hindsight, score_of, table_of


class Listener:
    """An entrant that notes what it is told."""

    def __init__(self) -> None:
        self.trainings = 0
        self.heard: list[tuple[int, int]] = []

    def learn(self, known: Known) -> None:
        self.heard.append((len(known.y), int(known.number[-1])))

    def answer(self, x: Matrix) -> Vector:
        return np.full(len(x), 0.5)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return stream_of("sea", synthetic.sea_history(1_500), "1d")


def without_days(stream: Stream, *days: int) -> Stream:
    rows = ~np.isin(stream.number, [stream.first + day for day in days])
    return replace(stream, x=stream.x[rows], y=stream.y[rows], number=stream.number[rows])


def outcome(*answers: float, name: str = "any") -> Outcome:
    return Outcome(name, np.array(answers), 1, 0.0)


def score(name: str, log_loss: float, trainings: int = 1) -> Score:
    return Score(name, 0.7, log_loss, (trainings, trainings), 0.0, 0.0)


def test_the_labels_of_a_block_are_known_after_the_next_one(stream):
    listener = Listener()
    replay("listener", listener, stream)
    blocks = np.unique(stream.number[stream.start :]).tolist()
    assert [newest for _, newest in listener.heard] == [number - 2 for number in blocks]
    assert [rows for rows, _ in listener.heard] == [block.rows.start - 50 for block in stream.blocks()]


def test_a_day_without_rows_is_a_day_of_waiting_for_labels(stream):
    listener = Listener()
    replay("listener", listener, without_days(stream, 3))
    assert [newest - stream.first for _, newest in listener.heard[2:5]] == [0, 2, 2]


ENTRANTS = {
    "never": Calendar,
    "all rows": lambda: Calendar(5),
    "window": lambda: Calendar(5, 5),
    "adwin": AdwinTrigger,
    "repeat": LastBlock,
    "recalibration": recalibration,
    "mixture": lambda: CalendarMixture(every=5),
}


@pytest.mark.parametrize("make", ENTRANTS.values(), ids=ENTRANTS)
def test_answers_do_not_depend_on_labels_that_have_not_come(make, stream):
    day = 6
    changed = np.where(stream.number >= stream.first + day, 1 - stream.y, stream.y)
    first, second = (replay("any", make(), each).answers for each in (stream, replace(stream, y=changed)))
    answered = stream.number[stream.start :] - stream.first
    assert np.array_equal(first[answered <= day + 1], second[answered <= day + 1])


def test_a_calendar_trains_on_its_days_and_never_trains_once(stream):
    blocks = len(list(stream.blocks()))
    assert replay("never", Calendar(), stream).trainings == 1
    assert replay("each", Calendar(1, 5), stream).trainings == blocks
    assert replay("tenth", Calendar(10), stream).trainings == -(-blocks // 10)


def test_a_mixture_trains_three_of_its_four_slots_and_learns_each_answer_once(stream):
    mixture, blocks = CalendarMixture(every=10), list(stream.blocks())
    assert replay("mixture", mixture, stream).trainings == 1 + 3 * ((len(blocks) - 1) // 10)
    assert mixture.learner.rows == blocks[-1].known - stream.start


def test_recalibration_trains_nothing(stream):
    calibrated, never = replay("recalibration", recalibration(), stream), replay(NEVER, Calendar(), stream)
    assert calibrated.trainings == 1
    assert np.allclose(calibrated.answers[:50], np.clip(never.answers[:50], 0.005, 0.995)), "it begins as it is"


def test_a_window_holds_the_newest_blocks():
    number = np.repeat([4, 5, 7, 8], 3)
    nothing = np.zeros(12)
    known = Known(np.zeros((12, 1)), nothing, number, nothing, slice(9, 12), 0, ("a",), ())
    assert [known.back(blocks) for blocks in (1, 2, 3, 99)] == [9, 6, 6, 0]


def test_the_last_block_is_repeated_row_by_row(stream):
    answers = replay("repeat", LastBlock(), stream).answers
    assert np.unique(answers[:50]).tolist() == [0.5], "nothing is known of how labels follow each other"
    labels, third = stream.y[stream.start :][:50], answers[100:150]
    of_ones, of_zeros = np.unique(third[labels == 1]), np.unique(third[labels == 0])
    assert len(of_ones) == len(of_zeros) == 1
    assert of_ones != of_zeros


def test_the_best_calendar_is_the_one_with_the_lowest_log_loss_whatever_others_reach():
    scores = [score("other", 0.1), score("often", 0.3, 90), score("seldom", 0.3, 9), score("wrong", 0.4)]
    assert best_in_hindsight(scores, {"often", "seldom", "wrong"}) == "seldom"
    assert best_in_hindsight(scores, set()) is None
    table = table_of(scores, {"often", "seldom", "wrong"}, {"broken": "no rows"})
    assert [line.split(" | ")[0] for line in table.splitlines() if "**" in line] == [
        "| **seldom** (the best calendar in hindsight)"
    ]
    assert table.endswith("broken failed: no rows")


def test_the_worst_block_is_the_one_that_lost_most_beside_never():
    answered = Answered(np.array([1.0, 1.0, 0.0, 0.0]), np.array([3, 3, 5, 5]))
    never, other = outcome(0.5, 0.5, 0.5, 0.5), outcome(0.9, 0.9, 0.5, 0.75)
    row = score_of([other], never, answered)
    assert row.worst == pytest.approx(np.log(2) / 2)
    assert row.log_loss == pytest.approx(-np.log([0.9, 0.9, 0.5, 0.25]).mean())
    assert score_of([never, other], never, answered).worst == row.worst


def test_certainty_that_is_wrong_costs_what_the_clip_allows():
    answered = Answered(np.array([1.0, 0.0]), np.array([1, 2]))
    assert answered.losses(outcome(0.0, 1.0)) == pytest.approx([-np.log(0.005)] * 2)


def test_never_always_takes_part():
    assert names_of(["adwin"])[0] == NEVER
    assert set(names_of(["calendar"])) == {NEVER, *CALENDARS}


def test_a_stream_without_its_file_says_so():
    assert reason_to_leave_out("flights", StreamFiles()) == "flights is left out: --flights FILE is not given"
    assert reason_to_leave_out("sea", StreamFiles()) is None
