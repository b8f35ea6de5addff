"""Bearer tokens: access rights over HTTP, by scope and model. Only a digest of each token is stored."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from optagent.domain.model import MODEL_ID
from optagent.errors import InvalidRequest, NotPermitted

_TEXT = re.compile(r"oa_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.@-]{0,99}")
_RESERVED = re.compile(r"(?i)(anonymous|local|optagent|process|supervisor|system)(?![A-Za-z0-9])")

MOST_MODELS = 20
"""The most models that a token is limited to: a list asks for each of them, so one request does the work of many."""


class Scope(StrEnum):
    """Right of a token. `ADMIN` includes all others, `OPERATE` includes `READ`; `PREDICT` and `LABEL` include no other.

    Labels decide what is measured, retrained and rolled out, so whoever asks for predictions need not send them:
    `LABEL` is for sending them, and for nothing else.
    """

    READ = "read"
    PREDICT = "predict"
    LABEL = "label"
    OPERATE = "operate"
    ADMIN = "admin"


_INCLUDES = {
    Scope.ADMIN: frozenset(Scope),
    Scope.OPERATE: frozenset({Scope.OPERATE, Scope.READ}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.PREDICT: frozenset({Scope.PREDICT}),
    Scope.LABEL: frozenset({Scope.LABEL}),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token. `digest` is the SHA-256 of its text, times are POSIX seconds.

    Its scopes are for `models`, or for all models where that is empty, as in the tokens of older programs. The scope
    admin cannot be limited: its holder could make a token without limits. `predict_sends_labels` is True for tokens of
    programs that had no scope for labels: their records lack the field, and their holders keep the right.
    """

    token_id: str
    name: str
    digest: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    models: tuple[str, ...] = ()
    predict_sends_labels: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest(f"token name {self.name!r}: up to 100 of letters, digits, ' ', '_', '.', '@', '-'")
        if not self.scopes:
            raise InvalidRequest(f"a token needs a scope; one of {[str(scope) for scope in Scope]}")
        self._check_models()

    @property
    def rights(self) -> tuple[Scope, ...]:
        """Its scopes, and `LABEL` where its scope `PREDICT` stands for both."""
        if self.predict_sends_labels and Scope.PREDICT in self.scopes and Scope.LABEL not in self.scopes:
            return (*self.scopes, Scope.LABEL)
        return self.scopes

    @property
    def limit(self) -> str:
        """Words for the models that the token is limited to, "" for none."""
        return f"token {self.name!r} is limited to {', '.join(self.models)}" if self.models else ""

    @property
    def label(self) -> str:
        """The name and the id: names need not be unique, and an old token may have one that is reserved now."""
        return f"{self.name} ({self.token_id})"

    def is_valid(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: Scope) -> bool:
        return any(scope in _INCLUDES[own] for own in self.rights)

    def allows_model(self, model_id: str) -> bool:
        return not self.models or model_id in self.models

    def check_model(self, model_id: str) -> None:
        """Raises NotPermitted, with the models that the token is limited to, for another one."""
        if not self.allows_model(model_id):
            raise NotPermitted(f"{self.limit}: this is about {model_id[:100]!r}")

    def matches(self, text: str) -> bool:
        """True where `text` is this token's; the comparison takes constant time."""
        return hmac.compare_digest(digest_of(text), self.digest)

    def _check_models(self) -> None:
        if self.models and Scope.ADMIN in self.scopes:
            raise InvalidRequest(f"a token with the scope admin is for all models, got {', '.join(self.models)}")
        if len(self.models) > MOST_MODELS:
            raise InvalidRequest(f"a token is limited to at most {MOST_MODELS} models, got {len(self.models)}")
        for model_id in self.models:
            if not MODEL_ID.fullmatch(model_id):
                raise InvalidRequest(f"models: {model_id[:100]!r} is not the id of a model")


def check_new_name(name: str) -> None:
    """Raises InvalidRequest for the name of a new token that reads like an actor without a token."""
    first_word = _RESERVED.match(name) if isinstance(name, str) else None
    if first_word is not None:
        raise InvalidRequest(f"token name {name!r}: it must not begin with {first_word.group()!r}, which is reserved")


def token_text(token_id: str, secret: str) -> str:
    """The token as its holder sends it; InvalidRequest unless the parts are 12 hexadecimal and 43 base64url digits."""
    text = f"oa_{token_id}_{secret}"
    if not _TEXT.fullmatch(text):
        raise InvalidRequest("a token has an id of 12 hexadecimal digits and a secret of 43 base64url digits")
    return text


def token_id_of(text: str) -> str | None:
    """The id in a token's text; None for a text that cannot be a token's."""
    match = _TEXT.fullmatch(text)
    return match.group(1) if match else None


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def scopes_named(names: list[str] | tuple[str, ...]) -> tuple[Scope, ...]:
    """The scopes of those names, each once; InvalidRequest lists the known ones."""
    unknown = sorted(set(names) - set(Scope))
    if unknown:
        raise InvalidRequest(f"unknown scope {', '.join(unknown)}; one of {[str(scope) for scope in Scope]}")
    return tuple(dict.fromkeys(Scope(name) for name in names))
