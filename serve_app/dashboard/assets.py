"""Static files of the dashboard: its style, its script, and the installed script of plotly."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from optagent.errors import NotFound
from serve_app.dashboard.page import PageRoute
from serve_app.dashboard.session import PREFIX

router = APIRouter(prefix=f"{PREFIX}/static", route_class=PageRoute)

_OURS = Path(__file__).parent / "static"


@router.get("/{name}")
async def asset(name: str) -> Response:
    """One of the static files; open to all, since they contain no data."""
    files = {path.name: path for path in (*_OURS.iterdir(), _plotly_script())}
    if name not in files:
        raise NotFound(f"there is no file {name!r}; one of {sorted(files)}")
    return FileResponse(files[name], headers={"Cache-Control": "max-age=600", "X-Content-Type-Options": "nosniff"})


def _plotly_script() -> Path:
    """The path of the script in the installed package. The package is not imported: that takes a second, and memory."""
    spec = find_spec("plotly")
    assert spec is not None, "plotly is installed with optagent"
    assert spec.origin is not None
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"
