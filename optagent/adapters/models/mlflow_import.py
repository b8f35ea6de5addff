"""The `Importer` port on MLflow: LightGBM, XGBoost and scikit-learn models, converted in a process of their own."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.models.conversion import FileKind, converted
from optagent.adapters.models.mlflow_connection import MlflowConnection
from optagent.adapters.models.mlflow_source import MlflowSource, read_source
from optagent.arrays import Prediction
from optagent.domain.model import ModelSpec, Task
from optagent.domain.space import Categorical
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.training.encoding import Schema
from optagent.training.families.family import FittedModel
from optagent.training.families.registry import family_named
from optagent.training.families.sklearn_imported import ORDER, ImportedSklearn
from optagent.training.imported import ConvertedModel, class_order, imported_schema, reorder_classes, usable_columns
from optagent.training.manifest import file_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = ("models:/", "runs:/")
_FAMILIES = ("lightgbm", "xgboost", ImportedSklearn.name)


class MlflowImporter:
    """Fetches from one MLflow server, or from a folder. `conversion` opens the files: in a process of its own."""

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | None = None,
        cache_folder: Path | None = None,
        *,
        conversion: Callable[[Mapping[str, Any], Path], dict[str, Any]] = converted,
    ) -> None:
        self._server = MlflowConnection(tracking_uri, experiment, artifact_root, cache_folder)
        self._conversion = conversion

    def convert(
        self, uri: str, spec: ModelSpec, target: Schema, rows: pa.Table, into: Path, trust_pickle: bool = False
    ) -> ConvertedModel:
        source = read_source(self._fetched(uri, into), uri)
        if source.kind is FileKind.PICKLE and not trust_pickle:
            raise InvalidRequest(
                f"{uri}: its file {source.path.name} is a pickle, which can run any code when it is opened;"
                " if you trust where it comes from, say so (trust_pickle, --trust-pickle)"
            )
        usable, refused = usable_columns(rows, spec)
        work = into / "conversion"
        work.mkdir()
        np.save(work / "rows.npy", _numbers(rows, list(usable)), allow_pickle=False)
        told = self._conversion(
            {
                "kind": source.kind,
                "file": str(source.path.absolute()),
                "task": spec.task,
                "columns": list(usable),
                "signature": source.signature,
                "listed": list(spec.features),
            },
            work,
        )
        try:
            schema = imported_schema([str(name) for name in told["features"]], usable, refused, target)
            return _imported(told, source, schema, work)
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, InvalidRequest):
                raise
            raise CorruptBundle(f"{uri}: its conversion left {error!r}") from error

    def _fetched(self, uri: str, into: Path) -> Path:
        if not uri.startswith(_SCHEMES):
            folder = Path(uri.removeprefix("file://")).expanduser()
            if "://" in uri.removeprefix("file://") or not folder.is_dir():
                raise InvalidRequest(
                    f"{uri}: give models:/NAME/VERSION, runs:/ID/PATH or the folder of an MLflow model"
                )
            return folder
        target = into / "download"
        target.mkdir()
        with self._server.session() as client:
            from mlflow.artifacts import download_artifacts

            # MLflow looks `models:/` up on the global server, whichever is given.
            address = self._server.tracking_uri
            place = _artifacts_of(uri, client) if uri.startswith("models:/") else uri
            found = download_artifacts(
                artifact_uri=place, dst_path=str(target), tracking_uri=address, registry_uri=address
            )
        return Path(found)


def _artifacts_of(uri: str, client: "MlflowClient") -> str:
    """Where the files of models:/NAME/3, models:/NAME@ALIAS or models:/m-ID lie; one may stand for another."""
    name = uri.removeprefix("models:/").strip("/")
    if "@" in name:
        row = client.get_model_version_by_alias(*name.rsplit("@", 1))
        found = client.get_model_version_download_uri(row.name, row.version)
    elif "/" in name:
        found = client.get_model_version_download_uri(*name.rsplit("/", 1))
    else:
        found = client.get_logged_model(name).artifact_location
    return _artifacts_of(found, client) if found.startswith("models:/") else found


def _imported(told: Mapping[str, Any], source: MlflowSource, schema: Schema, work: Path) -> ConvertedModel:
    family, task = str(told["family"]), schema.task
    if family not in _FAMILIES:
        raise CorruptBundle(f"the conversion made a {family!r}; one of {list(_FAMILIES)}")
    order = class_order(told["classes"], int(told["n_classes"]), schema.classes) if task.classifies else ()
    model = _loaded(family, work / "model", schema, order)
    return ConvertedModel(
        family=family,
        model=model,
        schema=schema,
        params=_params(family, task, told["params"]),
        rounds=int(told["rounds"]),
        reference=reorder_classes(_prediction(work / "reference.npy"), order, task),
        rounded=reorder_classes(_prediction(work / "rounded.npy"), order, task),
        source={"flavor": source.flavor, "file": str(source.kind), "sha256": file_digest(source.path)},
    )


def _loaded(family: str, folder: Path, schema: Schema, order: Sequence[int]) -> FittedModel:
    """Read as any bundle of that family is read: by its checks, and in its classes' order."""
    if family == ImportedSklearn.name:
        (folder / ORDER).write_text(json.dumps(list(order)), encoding="utf-8")
    elif list(order) != sorted(order):
        told = [schema.classes[position] for position in order]
        raise InvalidRequest(
            f"the model's classes are in the order {told}, model.yaml's are {list(schema.classes)}:"
            f" give positive_class: {told[-1]!r}"
            if schema.task is Task.BINARY
            else f"the model's classes are not in the order {list(schema.classes)}"
        )
    return family_named(family).load(folder, schema.task, len(schema.classes))


def _prediction(path: Path) -> Prediction:
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)


def _numbers(rows: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """(rows, columns) float64, NaN where missing."""
    found = np.empty((rows.num_rows, len(columns)))
    for position, name in enumerate(columns):
        values = pc.cast(rows.column(name), pa.float64(), safe=False)
        found[:, position] = pc.fill_null(values, np.nan).to_numpy()
    return found


def _params(family: str, task: Task, told: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of our space that the model tells of, so that a search can start from them."""
    params: dict[str, Any] = {}
    for parameter in family_named(family).space(task):
        try:
            value: Any = float(told[parameter.name])
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(parameter, Categorical):
            fits = value in parameter.choices
        else:
            fits = parameter.low <= value <= parameter.high
        if fits:
            params[parameter.name] = int(value) if value.is_integer() else value
    return params
