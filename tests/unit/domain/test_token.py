"""Tokens: the scopes that one allows, and the form of its text."""

import pytest

from optagent.domain.token import Scope, Token, digest_of, scopes_named, token_id_of, token_text
from optagent.errors import InvalidRequest

TEXT = token_text("0123456789ab", "x" * 43)


def token(*scopes: Scope, predict_sends_labels: bool = False, **more: float) -> Token:
    own_scopes = scopes or (Scope.READ,)
    return Token(
        "0123456789ab", "bot", digest_of(TEXT), own_scopes, 0.0, predict_sends_labels=predict_sends_labels, **more
    )


@pytest.mark.parametrize(
    ("own", "allowed"),
    [
        (Scope.READ, {Scope.READ}),
        (Scope.PREDICT, {Scope.PREDICT}),
        (Scope.LABEL, {Scope.LABEL}),
        (Scope.OPERATE, {Scope.OPERATE, Scope.READ}),
        (Scope.ADMIN, set(Scope)),
    ],
)
def test_a_scope_allows_itself_and_what_it_includes(own: Scope, allowed: set[Scope]) -> None:
    assert {scope for scope in Scope if token(own).allows(scope)} == allowed


@pytest.mark.parametrize(
    ("scopes", "rights"),
    [
        ((Scope.PREDICT,), (Scope.PREDICT, Scope.LABEL)),
        ((Scope.OPERATE, Scope.PREDICT), (Scope.OPERATE, Scope.PREDICT, Scope.LABEL)),
        ((Scope.PREDICT, Scope.LABEL), (Scope.PREDICT, Scope.LABEL)),
        ((Scope.READ,), (Scope.READ,)),
    ],
)
def test_an_earlier_token_sends_labels_by_its_scope_predict_alone(
    scopes: tuple[Scope, ...], rights: tuple[Scope, ...]
) -> None:
    earlier = token(*scopes, predict_sends_labels=True)
    assert earlier.rights == rights
    assert earlier.allows(Scope.LABEL) == (Scope.LABEL in rights)


def test_a_token_ends_by_time_and_by_hand() -> None:
    assert token(expires_at=10.0).is_valid(9.9)
    assert not token(expires_at=10.0).is_valid(10.0)
    assert not token(revoked_at=5.0).is_valid(1.0)


def test_only_its_own_text_matches() -> None:
    assert token().matches(TEXT)
    assert not token().matches(TEXT[:-1] + "y")


@pytest.mark.parametrize("text", ["", "oa_", "oa_xyz_" + "x" * 43, TEXT + "x", "Bearer " + TEXT, "\ud800"])
def test_what_is_no_token_has_no_id(text: str) -> None:
    assert token_id_of(text) is None
    assert not token().matches(text)


def test_the_id_stands_in_the_text() -> None:
    assert token_id_of(TEXT) == "0123456789ab"


def test_an_unknown_scope_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"unknown scope write.*'read', 'predict', 'label', 'operate', 'admin'"):
        scopes_named(["read", "write"])


def test_a_token_without_a_scope_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="needs a scope"):
        Token("0123456789ab", "bot", "", (), 0.0)
