"""What a comparison comes to."""

from enum import StrEnum


class Verdict(StrEnum):
    """Only `PASS` ever promotes. `ERROR`: a statistic that is needed is missing or is no number."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
