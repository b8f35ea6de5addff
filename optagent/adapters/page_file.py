"""A page as a file."""

import uuid
from pathlib import Path

from optagent.errors import InvalidRequest


def write_page(page: str, path: Path) -> Path:
    """Writes the page whole or not at all; InvalidRequest for a path that cannot be written."""
    path = Path(path)
    scratch = path.with_name(f".{uuid.uuid4().hex}.html")
    try:
        if not path.parent.is_dir():
            raise InvalidRequest(f"{path}: there is no folder {str(path.parent)!r}")
        if path.is_dir():
            raise InvalidRequest(f"{path}: is a folder, a file is needed")
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return path
