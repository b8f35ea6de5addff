"""Database URL: the template of a SQL source, filled in from the environment where it is used and shown nowhere."""

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy import exc

from optagent.errors import InvalidData
from optagent.secret_text import HIDDEN, hide_secrets

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The filled URL, for the driver alone, and `where`, the template without password and query, for messages."""

    url: sa.URL
    where: str
    secrets: tuple[tuple[str, str], ...]
    """Each text that must not be shown, with what stands for it; the longest first."""

    def describe_error(self, error: BaseException) -> str:
        """The driver's message in one line, without secrets, values of variables, and SQLAlchemy's echo of the query.

        Where a value of a row is at fault, its message would quote the value: only the kind of the error is named.
        """
        if isinstance(error, exc.DataError):
            return f"a value does not fit ({type(error.orig or error).__name__})"
        text = " ".join(str(getattr(error, "orig", None) or error).split())
        for secret, shown in self.secrets:
            text = text.replace(secret, shown)
        return hide_secrets(text)[:_LONGEST_MESSAGE]


def fill_url(template: str) -> DatabaseUrl:
    """The URL with each `${NAME}` replaced by that variable unchanged: a password needs no percent-encoding there."""
    values: dict[str, str] = {}

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InvalidData(f"data: the environment variable {match[1]} of the database URL is not set")
        values[match[0]] = os.environ[match[1]]
        return values[match[0]]

    user, at, rest = template.rpartition("@")
    filled = _VARIABLE.sub(lambda match: quote(value(match), safe=""), user) + at + _VARIABLE.sub(value, rest)
    try:
        url = sa.make_url(filled)
    except (exc.ArgumentError, ValueError):
        raise InvalidData("data: not a SQLAlchemy URL such as postgresql://user:${PASSWORD}@host/name") from None
    where = hide_secrets(template).partition("?")[0]
    return DatabaseUrl(url, where, _secrets_of(url, values))


def _secrets_of(url: sa.URL, values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    shown = {value: name for name, value in values.items()}
    if url.password:
        shown.setdefault(str(url.password), HIDDEN)
    forms = {form: name for value, name in shown.items() for form in (value, quote(value, safe=""), quote_plus(value))}
    return tuple(sorted(((form, name) for form, name in forms.items() if form), key=lambda pair: -len(pair[0])))
