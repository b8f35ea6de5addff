"""A type checker sees the types of the package in a user's script."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio
from optagent import create_optimization_agent


async def main() -> None:
    async with await create_optimization_agent(strict=True) as agent:
        result = await agent.tune_hyperparameters("churn")
        reveal_type(result.best_score)
        agent.no_such_verb()


asyncio.run(main())
"""


def test_a_users_script_is_checked_against_the_verbs_and_their_results(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent", "--cache-dir", str(tmp_path), str(script)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert 'Revealed type is "float | None"' in output
    assert '"OptimizationAgent" has no attribute "no_such_verb"' in output
