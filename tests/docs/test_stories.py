"""Every example of the documentation runs as a reader would run it: story by story, from an empty folder and home."""

import json
from pathlib import Path

import pytest
import yaml

from optagent.codec import model_from
from tests.docs.stories import EXAMPLES, Story, stories, tell_story

STEP_S = 600.0  # a search of a tutorial on two busy cores
pytestmark = pytest.mark.timeout(3600)  # the wait for another test's system included


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_a_story_runs_from_its_first_step_to_its_last(story: Story, tmp_path: Path):
    tell_story(story, tmp_path, STEP_S)


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_a_story_that_brings_up_a_system_takes_it_down_last(story: Story):
    assert story.steps or story.data
    if story.needs_a_system:
        assert "optagent down" in story.steps[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.y*ml")), ids=lambda path: path.relative_to(EXAMPLES).as_posix()
)
def test_a_yaml_file_can_be_read_and_a_model_is_one(path: Path):
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "model.yaml":
        assert model_from(fields, folder=path.parent).model_id


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.json")), ids=lambda path: path.relative_to(EXAMPLES).as_posix()
)
def test_a_json_file_can_be_read(path: Path):
    json.loads(path.read_text(encoding="utf-8"))


def made_story(folder: Path, **steps: str) -> Story:
    folder.mkdir()
    for name, text in steps.items():
        number, _, rest = name.partition("_")
        path = folder / (f"{number[1:]}-{rest}.sh" if number.startswith("n") else f"{name}.txt")
        path.write_text(text)
    return Story(folder)


def test_steps_share_a_folder_with_the_data_and_have_a_home_of_their_own(tmp_path: Path):
    story = made_story(
        tmp_path / "story",
        data="seen",
        n01_first='test "$(cat data.txt)" = seen && echo "$OPT_AGENT_HOME" > home',
        n02_second='grep -q state home && test "$OPT_AGENT_API_PORT" != 8000',
    )
    tell_story(story, tmp_path, 60)


def test_a_step_that_fails_fails_its_story_with_what_it_printed(tmp_path: Path):
    story = made_story(tmp_path / "story", n01_first="echo heard; false; echo unheard")
    with pytest.raises(AssertionError, match=r"story/01-first\.sh:\nheard\n"):
        tell_story(story, tmp_path, 60)


def test_a_story_with_optagent_up_needs_a_system(tmp_path: Path):
    assert made_story(tmp_path / "a", n01_up="optagent up\n").needs_a_system
    assert not made_story(tmp_path / "b", n01_up="echo optagent upgrades\n").needs_a_system
