"""Importing the package costs nothing and loads no framework, and its modules import each other in no circle."""

import subprocess
import sys
from graphlib import TopologicalSorter

import grimp

import optagent

HEAVY = ("ray", "mlflow", "sklearn", "optuna", "lightgbm", "pandas", "redis", "scipy.stats")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_no_framework():
    assert loaded_by("import optagent") == set()


def test_the_command_line_starts_without_the_frameworks():
    assert loaded_by("import optagent.cli") & set(HEAVY) - {"lightgbm", "redis"} == set()


def test_every_public_name_is_there():
    assert all(getattr(optagent, name) is not None for name in optagent.__all__)
    assert set(optagent.__all__) == set(optagent._HOMES)


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions and those for types alone count too; a CycleError names the modules of the circle."""
    imports = grimp.build_graph("optagent", "serve_app", cache_dir=None)
    TopologicalSorter({one: imports.find_modules_directly_imported_by(one) for one in imports.modules}).prepare()
