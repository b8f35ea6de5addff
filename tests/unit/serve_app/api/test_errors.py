"""Problem documents: every error is one, and its code is decided in one place."""

import inspect
import json
import logging

import pytest

from optagent import errors
from serve_app.api.errors import CODES, UNEXPECTED, problem, problem_response

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.OptAgentError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_ours_has_a_code_and_says_what_it_says(kind: type[Exception]):
    code, document = problem(kind("the words"), "r-1")
    assert 400 <= code < 600
    assert (document["status"], document["detail"], document["instance"]) == (code, "the words", "r-1")
    assert document["type"].startswith("urn:optagent:")


def test_an_error_has_the_code_of_its_nearest_kin():
    assert problem(errors.InvalidData("column x"), "")[0] == CODES[errors.InvalidRequest] == 422
    assert problem(errors.ModelNotFound("no model"), "")[0] == CODES[errors.NotFound] == 404
    assert problem(errors.TooLarge("big"), "")[0] == 413


def test_the_type_is_a_name_that_programs_can_tell_apart():
    _, document = problem(errors.ModelNotFound("no model 'x'"), "")
    assert (document["type"], document["title"]) == ("urn:optagent:model-not-found", "Model not found")


def test_what_nobody_meant_tells_nothing_but_is_logged_with_the_request(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR, "optagent.api"):
        response = problem_response(KeyError("/secret/path"), "r-2")
    assert response.status_code == 500
    assert json.loads(response.body)["detail"] == UNEXPECTED
    assert b"secret" not in response.body
    assert "r-2" in caplog.text
    assert "/secret/path" in caplog.text


def test_whoever_is_turned_away_for_now_is_told_when_to_come_again():
    assert problem_response(errors.Unavailable("Redis does not answer"), "").headers["retry-after"] == "2"
    assert problem_response(errors.TooManyRequests("60 a minute"), "").headers["retry-after"] == "5"


def test_whoever_lacks_a_token_is_told_of_which_kind():
    assert problem_response(errors.NotAuthenticated("a token is needed"), "").headers["www-authenticate"] == (
        'Bearer realm="optagent"'
    )


def test_text_that_is_no_unicode_is_told_all_the_same():
    assert json.loads(problem_response(errors.InvalidRequest("a \ud800"), "").body)["detail"] == "a ?"
