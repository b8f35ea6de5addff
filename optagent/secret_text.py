"""Secrets in text: passwords and query values of URLs, which `***` stands for in everything that people are shown.

`${NAME}` is the place of a secret and not the secret itself: it is shown as it stands. A password may hold any
character where nobody has percent-encoded it, so too much is hidden rather than too little. Time is linear in the text.
"""

import re

HIDDEN = "***"

_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_SPACES = re.compile(r"(\s+)")
_USER = re.compile(r"://[^:@/\s]*:")
_SHOWN_LOGIN = re.compile(r"(?:\*\*\*|\$\{\w+\})@")
_KEY = re.compile(r"(https?://)(?!\*\*\*@|\$\{\w+\}@)[^:@/?#\s]+@")  # a token in the place of the user
_QUERY = re.compile(r"\?(?=[A-Za-z_][\w.-]*=)[^\s'\"]*")  # and not the ? of a glob
_ASSIGNED = re.compile(
    r"(?i)\b((?:password|passwd|pwd|secret_key|client_secret|account_key|sas_token)\s*=\s*)"
    r"('(?:[^']|'')*'|\"[^\"]*\"|[^\s'\"&;,)*]+)"
)


def hide_secrets(text: str) -> str:
    """The text without the passwords and queries of URLs in it, and without values that are assigned to a password.

    Text that has been through here stays as it is.

    >>> hide_secrets("postgresql://etl:hunter2@db/orders: refused"), hide_secrets("mysql://db/x?user=me&password=hunter2")
    ('postgresql://etl:***@db/orders: refused', 'mysql://db/x?***')
    >>> hide_secrets("postgresql://etl:${PASSWORD}@db/orders")
    'postgresql://etl:${PASSWORD}@db/orders'
    """
    if "://" in text:
        if _URL.match(text):  # it may be a URL as a whole, with spaces in its password
            text = _hide_login(text)
        text = "".join(_hide_url(word) if "://" in word else word for word in _SPACES.split(text))
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def _hide_url(word: str) -> str:
    word = _KEY.sub(rf"\1{HIDDEN}@", _hide_login(word))
    start = word.index("://")
    return word[:start] + _QUERY.sub(f"?{HIDDEN}", word[start:])


def _hide_login(text: str) -> str:
    """The text without all from its first password to the last @."""
    end = text.rfind("@")
    for user in _USER.finditer(text, 0, max(end, 0)):
        if not _SHOWN_LOGIN.match(text, user.end()):
            return f"{text[: user.end()]}{HIDDEN}{text[end:]}"
    return text
