"""Screenshots of the documentation: `make screenshots` tells the story of a rollout, and takes its pages on the way.

Each page is taken light and dark, for a desk and for a phone, into build/screenshots; those that pages of the
documentation show, light and for a desk, are copied to docs/images.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import CHROMIUM, launch_options
from tests.docs.stories import EXAMPLES, Story, only_system, run_step, story_environment

ROOT = Path(__file__).parents[2]
TAKEN, SHOWN = ROOT / "build" / "screenshots", ROOT / "docs" / "images"
PICTURES = ("rollout", "process", "audit")
"""The pages that the documentation shows."""

SIZES = {"desk": (1280, 860), "phone": (390, 844)}
TRAFFIC = "08-traffic.py"
SLOWER = {
    "07-rollout.sh": ("min_rows=200", "min_rows=40"),
    TRAFFIC: ("time.sleep(0.1)", "time.sleep(1)"),
}
"""Changes of the story by step, so that the evidence of several looks is seen before the candidate is proven."""
STEP_S, RAMP_S = 600.0, 300.0


@dataclass(frozen=True, slots=True)
class LiveSystem:
    """A system that a story has brought up, and an admin's token for it."""

    api: str
    token: str

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.api}/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def wait_for_ramp(self) -> str:
        """The id of the rollout, once its candidate answers some of the requests and has been looked at."""
        give_up = time.monotonic() + RAMP_S
        while time.monotonic() < give_up:
            rollout = self.get("/models/churn/rollout")
            if rollout["state"] in ("ramp", "baking"):
                return str(rollout["rollout_id"])
            time.sleep(0.5)
        raise TimeoutError(f"the rollout has not come to its ramp within {RAMP_S:g} s")

    def pages(self) -> dict[str, str]:
        """The paths of the pages to take, by the names of their pictures."""
        rollout = self.wait_for_ramp()
        processes = self.get("/optimization/processes")["processes"]
        tuned = next(process for process in processes if process["kind"] == "tune")
        return {
            "rollout": "/dashboard/models/churn",
            "models": "/dashboard",
            "looks": f"/dashboard/rollouts/{rollout}",
            "processes": "/dashboard/processes",
            "process": f"/dashboard/processes/{tuned['process_id']}",
            "audit": "/dashboard/audit",
        }


def main() -> None:
    if CHROMIUM is None:
        sys.exit("screenshots need Chromium (Debian: apt-get install chromium)")
    shutil.rmtree(TAKEN, ignore_errors=True)
    TAKEN.mkdir(parents=True)
    SHOWN.mkdir(exist_ok=True)
    with rollout_under_way() as system, sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options())
        pages = system.pages()
        for scheme in ("light", "dark"):
            for size in SIZES:
                take_pages(browser, system, pages, scheme, size)
        browser.close()
    for name in PICTURES:
        shutil.copy(TAKEN / f"{name}-light-desk.png", SHOWN / f"{name}.png")
    print(f"{len(list(TAKEN.iterdir()))} pictures in {TAKEN.relative_to(ROOT)}, {len(PICTURES)} of them in docs/images")


@contextmanager
def rollout_under_way() -> Iterator[LiveSystem]:
    """A live system whose champion and candidate are asked and compared meanwhile."""
    story = Story(EXAMPLES / "compete")
    with tempfile.TemporaryDirectory(prefix="optagent-screenshots-") as folder:
        work, environment = Path(folder) / "work", story_environment(Path(folder) / "state")
        work.mkdir()
        for path in story.data:
            shutil.copy(path, work)
        with only_system(story, work, environment):
            for step in (slow_down(step, Path(folder)) for step in story.steps):
                if step.name == TRAFFIC:
                    break
                print(step.name, flush=True)
                run = run_step(step, work, environment, STEP_S)
                if run.returncode:
                    sys.exit(f"{step.name} failed:\n{run.stdout}\n{run.stderr}")
            traffic = subprocess.Popen([sys.executable, str(step)], cwd=work, env=environment)
            try:
                yield LiveSystem(
                    f"http://127.0.0.1:{environment['OPT_AGENT_API_PORT']}", create_token(work, environment)
                )
            finally:
                traffic.kill()
                traffic.wait()


def slow_down(step: Path, folder: Path) -> Path:
    """The step, or a copy of it in the folder with what is to be slower."""
    if step.name not in SLOWER:
        return step
    text, (before, after) = step.read_text(), SLOWER[step.name]
    assert before in text, f"{step.name} has no {before}"
    slower = folder / step.name
    slower.write_text(text.replace(before, after))
    return slower


def create_token(work: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "optagent.cli", "token", "create", "pictures", "--scope", "admin", "--json"]
    output = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=True).stdout
    return str(json.loads(output)["token"])


def take_pages(browser: Browser, system: LiveSystem, pages: dict[str, str], scheme: Any, size: str) -> None:
    """Takes each page in a browser of that colour scheme and size, signed in."""
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=system.api, color_scheme=scheme, viewport={"width": width, "height": height}, locale="en-GB"
    )
    page = context.new_page()
    sign_in(page, system.token)
    for name, path in pages.items():
        page.goto(path)
        page.wait_for_timeout(1500)  # for charts to be drawn
        page.screenshot(path=TAKEN / f"{name}-{scheme}-{size}.png", full_page=size == "phone")
    context.close()


def sign_in(page: Page, token: str) -> None:
    page.goto("/dashboard")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Fleet").wait_for()


if __name__ == "__main__":
    main()
