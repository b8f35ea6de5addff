"""Chromium of this machine, as the tests and the pictures of the documentation start it."""

import os
import shutil
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-gpu", "--no-first-run"]


def launch_options() -> dict[str, Any]:
    """The arguments of Playwright's `launch`: nothing is asked for in the background, and root needs no sandbox."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {"executable_path": CHROMIUM, "args": [*_QUIET, *root]}
