"""Source rules: the places, variables and families that a model or backtest which comes over HTTP may name.

Who calls on this machine, by Python or on the command line, reads files and the environment anyway and is not bound by
them. Over HTTP a token would otherwise read whatever the server can: its files, its variables (a URL can send them to
any host), its cloud storage; and import any module.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from optagent.domain.dataset import DataSource, FileSource
from optagent.errors import InvalidRequest
from optagent.secret_text import HIDDEN

_PART = r"(?:[A-Za-z0-9._~!*'()+,;=&%-]|\$\{[A-Za-z_][A-Za-z0-9_]*\})*"
_SQL_URL = re.compile(
    rf"(?P<backend>[a-z][a-z0-9_]*)(?:\+[a-z][a-z0-9_]*)?://(?P<login>(?:{_PART}(?::{_PART})?@)?)"
    r"(?P<place>[A-Za-z0-9._\[\]:-]*(?:/[\w.~/ +,()-]*)?)(?:\?(?P<query>.*))?"
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SAFE_OPTIONS = ("application_name", "charset", "connect_timeout", "sslmode")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class SourceRules:
    """`roots` are folders, and URLs without a login such as `s3://bucket/rows` and `postgresql://db/orders`.

    `variables` may stand in the login of a database URL. `families` are modules, packages or whole paths of families of
    a user's own. Nothing is allowed by default but the families that are installed for optagent.
    """

    roots: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    families: tuple[str, ...] = ()

    def check_source(self, source: DataSource, resolve: Callable[[str], str] = lambda path: path) -> None:
        """Raises InvalidRequest for a source that breaks a rule; `resolve` follows the symbolic links of a path."""
        if not isinstance(source, FileSource):
            self._check_url(source.url, resolve)
        elif "://" in source.uri:
            _require("?" not in source.uri and "#" not in source.uri, "a URI over HTTP has no options (?name=value)")
            self._check_below(source.uri)
        else:
            self._check_path(source.uri, resolve)

    def check_families(self, names: Sequence[str]) -> None:
        """Raises InvalidRequest for a path of a family that is not allowed; nothing is imported."""
        for name in names:
            if ":" in name and not any(_is_within(name, allowed, ".:") for allowed in self.families):
                raise InvalidRequest(
                    f"families: {name} is code to import, and not among those of OPT_AGENT_FAMILIES_ALLOWED, which is"
                    f" needed over HTTP; allowed are {list(self.families)}"
                )

    def _check_url(self, url: str, resolve: Callable[[str], str]) -> None:
        match = _SQL_URL.fullmatch(url)
        if match is None:
            raise InvalidRequest(
                "data: a database URL over HTTP has a driver, a login, a host with its port, and a name; the login is"
                " percent-encoded, and ${NAME} may stand there only"
            )
        _require(f":{HIDDEN}@" not in url, f"the password is {HIDDEN}, which only stands for one; write ${{NAME}}")
        for name in _VARIABLE.findall(match["login"]):
            if name not in self.variables:
                raise InvalidRequest(
                    f"data: the variable {name} is not among those of OPT_AGENT_SOURCE_VARIABLES, which may be named"
                    f" over HTTP; allowed are {list(self.variables)}"
                )
        unknown = {option.partition("=")[0] for option in (match["query"] or "").split("&") if option}
        unknown -= set(_SAFE_OPTIONS)
        _require(not unknown, f"options of a database URL over HTTP are {list(_SAFE_OPTIONS)}, got {sorted(unknown)}")
        if match["backend"] == "sqlite":
            _require(
                not match["login"] and match["place"].startswith("//"), "an absolute path is needed: sqlite:////rows.db"
            )
            self._check_path(match["place"][1:], resolve, globs=False)
        else:
            self._check_below(f"{match['backend']}://{match['place']}")

    def _check_below(self, url: str) -> None:
        parts = url.lower().replace("%2e", ".").replace("%2f", "/").split("/")
        _require(".." not in parts, "a place over HTTP has no `..`")
        if not any(_is_within(url, root, "/") for root in self.roots if "://" in root):
            self._refuse_place(url)

    def _check_path(self, path: str, resolve: Callable[[str], str], globs: bool = True) -> None:
        _require(path.startswith("/"), f"an absolute path of the server or a URI is needed, got {path!r}")
        _require(".." not in path.split("/"), "a place over HTTP has no `..`")
        folders = [resolve(root) for root in self.roots if "://" not in root]
        magic = _GLOB.search(path) if globs else None
        start = path if magic is None else path[: magic.start()].rpartition("/")[0] or "/"
        if not any(_is_within(resolve(start), folder, "/") for folder in folders):
            self._refuse_place(path)

    def _refuse_place(self, place: str) -> NoReturn:
        raise InvalidRequest(
            f"data: {place} is below none of the places that OPT_AGENT_DATA_ROOTS names for sources over HTTP:"
            f" {list(self.roots)}"
        )


def _is_within(name: str, outer: str, ends: str) -> bool:
    """True for the outer name itself, and for one that goes on with one of the characters `ends`."""
    outer = outer.rstrip(ends)
    return name == outer or (name.startswith(outer) and name[len(outer)] in ends)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise InvalidRequest(f"data: {rule}")
