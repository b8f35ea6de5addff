"""The command `optagent score`: its options reach the verb, notes go to standard error, and refusals end with 2."""

import asyncio
import json
from typing import Any

import pytest

from optagent import cli
from optagent.cli import scoring
from optagent.domain.scored_file import ScoredFile
from optagent.errors import InvalidData

ARGUMENTS = ["score", "churn", "--data", "new.parquet", "--out", "scored.parquet"]


class RecordingAgent:
    """An agent that scores nothing."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._error = error

    async def score(self, *arguments: Any) -> ScoredFile:
        self.calls.append(arguments)
        if self._error is not None:
            raise self._error
        return ScoredFile("churn", "mixture", 1_234, "scored.parquet", 1_234, ("slot [all] is slow",))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run_command(agent: RecordingAgent, *arguments: str) -> int:
        monkeypatch.setattr(scoring, "with_agent", lambda verb: asyncio.run(verb(agent)))
        with pytest.raises(SystemExit) as ended:
            cli.main([*ARGUMENTS, *arguments])
        code = ended.value.code
        assert isinstance(code, int)
        return code

    return run_command


def test_options_reach_the_verb(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    agent = RecordingAgent()
    assert run(agent, "--version", "3", "--record", "--columns", "id, region", "--overwrite", "--interval", "0.9") == 0
    [call] = agent.calls
    assert (call[0], call[1], str(call[2]), *call[3:]) == (
        "churn", "new.parquet", "scored.parquet", "3", True, ["id", "region"], True, 0.9
    )  # fmt: skip
    shown = capsys.readouterr()
    assert shown.out == "1,234 rows by the mixture in scored.parquet, 1,234 recorded\n"
    assert shown.err == "note: slot [all] is slow\n"


def test_the_account_is_json_on_request(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(RecordingAgent(), "--json") == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["rows"], account["version"], account["notes"]) == (1234, "mixture", ["slot [all] is slow"])


@pytest.mark.parametrize("columns", ["", "id,,region"])
def test_a_name_that_is_empty_is_refused(run: Any, capsys: pytest.CaptureFixture[str], columns: str) -> None:
    assert run(RecordingAgent(), "--columns", columns) == 2
    assert f"--columns takes names separated by commas, got {columns!r}" in capsys.readouterr().err


def test_a_refusal_ends_with_2(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(RecordingAgent(InvalidData("new.parquet: no such file"))) == 2
    assert capsys.readouterr().err == "error: new.parquet: no such file\n"
