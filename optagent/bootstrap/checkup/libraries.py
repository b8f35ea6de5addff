"""Checks of Python and the libraries: their versions against the bounds that the installed optagent declares."""

import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from optagent.domain.checkup import CheckResult, fault, ok

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_FOR_DEVELOPERS = ("dev", "bench", "docs", "all")
_VersionOf = Callable[[str], str]


def check_python(requires: str | None = None, version: str | None = None) -> CheckResult:
    from packaging.specifiers import SpecifierSet

    requires = requires or metadata.metadata("optagent")["Requires-Python"] or ""
    version = version or platform.python_version()
    if SpecifierSet(requires).contains(version, prereleases=True):
        return ok("python", f"{version} (needs {requires})")
    return fault("python", f"{version}, optagent needs {requires}", "make an environment with such a Python")


def check_libraries(
    requirements: Sequence[str] | None = None, version_of: _VersionOf = metadata.version
) -> list[CheckResult]:
    """One result for the libraries of the core, with a fault a library, and one that names the extras that are here."""
    from packaging.requirements import Requirement

    parsed = [
        Requirement(text) for text in (metadata.requires("optagent") if requirements is None else requirements) or ()
    ]
    core = [need for need in parsed if need.marker is None or need.marker.evaluate({"extra": ""})]
    faults = [found for need in core if (found := _check(need, version_of, optional=False)) is not None]
    results = faults or [ok("libraries", f"all {len(core)} are there, in versions that fit")]
    return [*results, *_check_extras(parsed, {need.name for need in core}, version_of)]


def _check_extras(parsed: Sequence["Requirement"], core: set[str], version_of: _VersionOf) -> list[CheckResult]:
    names = metadata.metadata("optagent").get_all("Provides-Extra") or []
    extras = [name for name in names if name not in _FOR_DEVELOPERS]
    present: list[str] = []
    absent: list[str] = []
    faults: list[CheckResult] = []
    for extra in extras:
        needs = [need for need in parsed if need.name not in core and _is_of(need, extra)]
        checked = [_check(need, version_of, optional=True) for need in needs]
        missing = [need for need in needs if _version(need, version_of) is None]
        (absent if missing else present).append(extra)
        faults += [] if missing else [found for found in checked if found is not None]
    if not extras:
        return faults
    there = f"here: {', '.join(present) or 'none'}"
    left = f"; not installed: {', '.join(absent)} (pip install 'optagent[{absent[0]}]')" if absent else ""
    return [*faults, ok("extras", f"{there}{left}")]


def _is_of(need: "Requirement", extra: str) -> bool:
    marker = need.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _check(need: "Requirement", version_of: _VersionOf, *, optional: bool) -> CheckResult | None:
    name, bounds = need.name, need.specifier
    version = _version(need, version_of)
    if version is None:
        return None if optional else fault("libraries", f"{name} is not installed", f"pip install '{name}{bounds}'")
    if bounds.contains(version, prereleases=True):
        return None
    remedy = f"pip install --upgrade '{name}{bounds}'"
    return fault("libraries", f"{name} is {version}, optagent needs {bounds}", remedy)


def _version(need: "Requirement", version_of: _VersionOf) -> str | None:
    try:
        return version_of(need.name)
    except metadata.PackageNotFoundError:
        return None
