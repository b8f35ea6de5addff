"""Known advisories on the locked dependencies, by pip-audit; it says so where their source cannot be asked.

Ends with 1 where an advisory names a locked version, and with 0 otherwise: a closed network is no fault of the project.
"""

import json
import subprocess
import sys
from pathlib import Path

_LOCK = "requirements.txt"
_LIMIT_S = 180


def main() -> int:
    command = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", _LOCK, "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json"]
    try:
        audit = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        dependencies = json.loads(audit.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("advisories: their source cannot be asked from here; nothing was checked")
        return 0
    checked = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    print(f"advisories: {len(checked)} of {len(dependencies)} locked dependencies were checked")
    if not checked:
        print("advisories: their source cannot be asked from here; nothing was checked")
    hits = [dependency for dependency in checked if dependency["vulns"]]
    for dependency in hits:
        names = ", ".join(advisory["id"] for advisory in dependency["vulns"])
        print(f"advisories: {dependency['name']} {dependency['version']}: {names}")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
