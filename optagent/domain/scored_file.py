"""Scored file: the account of a batch scoring, which is given once the output stands under its name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """The output `path` holds the answers to so many `rows` by `version`, which is "mixture" where a mixture answered.

    `recorded` is the number of rows that were recorded as predictions. `notes` are sentences about columns that were
    left out, slots that did not answer, and the like.
    """

    model_id: str
    version: str
    rows: int
    path: str
    recorded: int = 0
    notes: tuple[str, ...] = ()
