"""Breaker: a version that fails again and again is left alone for a while, and then tried by one request."""

from serve_app.data_plane.breaker import FAILURES, REST_S, Breaker


def failed_breaker(failures: int) -> Breaker:
    breaker = Breaker()
    for _ in range(failures):
        breaker.count(False, 10.0)
    return breaker


def test_a_few_failures_change_nothing() -> None:
    assert failed_breaker(FAILURES - 1).allows(10.0)


def test_after_failures_in_a_row_a_version_rests() -> None:
    breaker = failed_breaker(FAILURES)
    assert not breaker.allows(10.0)
    assert not breaker.allows(9.9 + REST_S)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    breaker = failed_breaker(FAILURES - 1)
    breaker.count(True, 10.0)
    breaker.count(False, 10.0)
    assert breaker.allows(10.0)


def test_at_the_end_of_the_rest_a_single_request_tries_it() -> None:
    breaker = failed_breaker(FAILURES)
    assert [breaker.allows(10.0 + REST_S) for _ in range(3)] == [True, False, False]
    breaker.count(True, 10.0 + REST_S)
    assert breaker.allows(10.0 + REST_S)
