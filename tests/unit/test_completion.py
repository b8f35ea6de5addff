"""Completion in a shell: commands, groups and options of the program, as typer offers them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTAGENT = Path(sys.executable).with_name("optagent")


@pytest.mark.parametrize(
    ("words", "offered"),
    [("optagent tu", ["tune"]), ("optagent rollout st", ["start", "status"]), ("optagent tune --obj", ["--objective"])],
)
def test_bash_is_offered_what_begins_with_the_last_word(words, offered):
    place = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, **place, "_OPTAGENT_COMPLETE": "complete_bash"}
    answer = subprocess.run([str(OPTAGENT)], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.split() == offered
