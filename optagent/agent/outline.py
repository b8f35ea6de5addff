"""Model description from rows: looks at a file and writes a model.yaml that registers as it is."""

import os
from pathlib import Path

import yaml

from optagent.agent.page_file import write_page
from optagent.codec import model_from
from optagent.domain.dataset import FileSource
from optagent.domain.model import MODEL_ID
from optagent.errors import Conflict, InvalidRequest
from optagent.loop.train.outline import outline_model
from optagent.ports import Datasets
from optagent.training.outline.model_outline import ModelOutline
from optagent.training.outline.model_yaml import model_text


def describe_model(
    model_id: str, data: str, target: str, out: Path, datasets: Datasets, *, force: bool = False
) -> ModelOutline:
    """Writes the model.yaml of a file of rows to `out`, whole or not at all, and answers what it says.

    Raises InvalidRequest for an id that is none and a path that cannot be written, InvalidData for rows that no model
    can be learned from, and Conflict for a file that is there, unless with `force`.
    """
    if not MODEL_ID.fullmatch(model_id):
        raise InvalidRequest(
            f"id {model_id!r}: up to 100 of letters, digits, '_', '.', '-', the first a letter or digit, such as churn"
        )
    _refuse_existing(out, force)
    outline = outline_model(datasets.open(FileSource(data)), target)
    text = model_text(model_id, _path_in_file(data, out), outline)
    model_from(yaml.safe_load(text), folder=out.absolute().parent)  # a model, whatever its columns are named
    write_page(text, out)
    return outline


def _refuse_existing(out: Path, force: bool) -> None:
    """Before the rows are read, which may take long."""
    if out.exists() and not force:
        raise Conflict(f"{out}: there is such a file already: --force replaces it, --out writes another")
    if out.parent.is_dir() and not os.access(out.parent, os.W_OK):
        raise InvalidRequest(f"{out}: the folder {str(out.parent)!r} cannot be written: give another by --out")


def _path_in_file(data: str, out: Path) -> str:
    """The path of the rows from the folder of the file, where they lie below it; else as an absolute one."""
    if "://" in data:
        return data
    path, folder = Path(data).expanduser().absolute(), out.absolute().parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
