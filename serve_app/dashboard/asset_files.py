"""Asset files of the dashboard: its style and script, and plotly's installed script, read once, with their URLs."""

import mimetypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from optagent.errors import NotFound
from serve_app.dashboard.session import PREFIX
from serve_app.fixed_content import FixedContent

_OURS = Path(__file__).parent / "static"


def asset_url(name: str) -> str:
    """The URL of a file, with its digest: browsers keep what is there for good."""
    return f"{PREFIX}/static/{name}?v={read_asset(name).digest}"


def read_asset(name: str) -> FixedContent:
    """The content of a file; raises NotFound."""
    paths = _paths()
    if name not in paths:
        raise NotFound(f"there is no file {name[:100]!r}; one of {sorted(paths)}")
    return _read(paths[name])


@cache
def _paths() -> dict[str, Path]:
    return {path.name: path for path in (*_OURS.iterdir(), _plotly_script())}


@cache
def _read(path: Path) -> FixedContent:
    return FixedContent(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")


def _plotly_script() -> Path:
    """The path of the script in the installed package. The package is not imported: that takes a second, and memory."""
    spec = find_spec("plotly")
    assert spec is not None, "plotly is installed with optagent"
    assert spec.origin is not None
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"
