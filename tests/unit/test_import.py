"""Importing the package costs nothing and loads no framework, and its modules import each other in no circle."""

import subprocess
import sys
from graphlib import TopologicalSorter

import grimp

import optagent

HEAVY = ("ray", "mlflow", "sklearn", "optuna", "lightgbm", "pandas", "redis", "scipy.stats")
SLOW_TO_START = (
    *HEAVY,
    "numpy",
    "pyarrow",
    "scipy",
    "pydantic",
    "pydantic_settings",
    "sqlalchemy",
    "jinja2",
    "fastapi",
)

MODULES_OF_A_HELP_PAGE = 60
"""Today 40: each module of nouns costs some three milliseconds, and each module of commands that is added one."""


def loaded_by(statement: str, among: tuple[str, ...] = HEAVY) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(name for name in {among!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_no_framework():
    assert loaded_by("import optagent") == set()


def test_help_and_completion_load_neither_frameworks_nor_numbers_nor_settings():
    """What a help page waits for, counted and not timed: typer, rich and the nouns that a command's help names."""
    help_page = "import contextlib, io, optagent.cli\nwith contextlib.suppress(SystemExit), "
    help_page += "contextlib.redirect_stdout(io.StringIO()): optagent.cli.main(['--help'])\n"
    assert loaded_by(f"{help_page}pass", SLOW_TO_START) == set()
    code = f"{help_page}import sys; print(sum(name.startswith('optagent.') for name in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(shown) <= MODULES_OF_A_HELP_PAGE


def test_every_public_name_is_there():
    assert all(getattr(optagent, name) is not None for name in optagent.__all__)
    assert set(optagent.__all__) == set(optagent._HOMES)


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions and those for types alone count too; a CycleError names the modules of the circle."""
    imports = grimp.build_graph("optagent", "serve_app", cache_dir=None)
    TopologicalSorter({one: imports.find_modules_directly_imported_by(one) for one in imports.modules}).prepare()
