"""What pages load: the style, the script, and plotly's own script as it is installed."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from optagent.errors import NotFound
from serve_app.dashboard.page import Page
from serve_app.dashboard.session import PREFIX

router = APIRouter(prefix=f"{PREFIX}/static", route_class=Page)

_OURS = Path(__file__).parent / "static"


@router.get("/{name}")
async def asset(name: str) -> Response:
    """One of the files that there are; open to all, since they say nothing."""
    known = {path.name: path for path in (*_OURS.iterdir(), _plotly())}
    if name not in known:
        raise NotFound(f"there is no file {name!r}; one of {sorted(known)}")
    return FileResponse(known[name], headers={"Cache-Control": "max-age=600", "X-Content-Type-Options": "nosniff"})


def _plotly() -> Path:
    """The script in the installed package, which is not imported: that takes a second, and memory."""
    found = find_spec("plotly")
    assert found is not None, "plotly is installed with optagent"
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"
