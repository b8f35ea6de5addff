"""MLflow importer: the `Importer` port for LightGBM, XGBoost and scikit-learn models of an MLflow server or folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.models.conversion import FileKind, convert_in_process
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
    """Fetches from one MLflow server or from a folder; `conversion` opens the files in a process of its own."""

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | None = None,
        cache_folder: Path | None = None,
        *,
        conversion: Callable[[Mapping[str, Any], Path], dict[str, Any]] = convert_in_process,
    ) -> None:
        self._server = MlflowConnection(tracking_uri, experiment, artifact_root, cache_folder)
        self._conversion = conversion

    def convert(
        self, uri: str, spec: ModelSpec, target: Schema, rows: pa.Table, into: Path, trust_pickle: bool = False
    ) -> ConvertedModel:
        source = read_source(self._fetch(uri, into), uri)
        if source.kind is FileKind.PICKLE and not trust_pickle:
            raise InvalidRequest(
                f"{uri}: its file {source.path.name} is a pickle, which can run any code when it is opened;"
                " if you trust where it comes from, say so (trust_pickle, --trust-pickle)"
            )
        usable, refused = usable_columns(rows, spec)
        work = into / "conversion"
        work.mkdir()
        np.save(work / "rows.npy", _to_matrix(rows, list(usable)), allow_pickle=False)
        answer = self._conversion(
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
            schema = imported_schema([str(name) for name in answer["features"]], usable, refused, target)
            return _read_conversion(answer, source, schema, work)
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, InvalidRequest):
                raise
            raise CorruptBundle(f"{uri}: its conversion left {error!r}") from error

    def _fetch(self, uri: str, into: Path) -> Path:
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

            # MLflow looks `models:/` up on the global server, even if another one is given.
            address = self._server.tracking_uri
            place = _artifact_location(uri, client) if uri.startswith("models:/") else uri
            path = download_artifacts(
                artifact_uri=place, dst_path=str(target), tracking_uri=address, registry_uri=address
            )
        return Path(path)


def _artifact_location(uri: str, client: "MlflowClient") -> str:
    """The location of the files of models:/NAME/3, models:/NAME@ALIAS or models:/m-ID, which may refer to another."""
    name = uri.removeprefix("models:/").strip("/")
    if "@" in name:
        row = client.get_model_version_by_alias(*name.rsplit("@", 1))
        location = client.get_model_version_download_uri(row.name, row.version)
    elif "/" in name:
        location = client.get_model_version_download_uri(*name.rsplit("/", 1))
    else:
        location = client.get_logged_model(name).artifact_location
    return _artifact_location(location, client) if location.startswith("models:/") else location


def _read_conversion(answer: Mapping[str, Any], source: MlflowSource, schema: Schema, work: Path) -> ConvertedModel:
    family, task = str(answer["family"]), schema.task
    if family not in _FAMILIES:
        raise CorruptBundle(f"the conversion made a {family!r}; one of {list(_FAMILIES)}")
    order = class_order(answer["classes"], int(answer["n_classes"]), schema.classes) if task.classifies else ()
    model = _load_model(family, work / "model", schema, order)
    return ConvertedModel(
        family=family,
        model=model,
        schema=schema,
        params=_search_params(family, task, answer["params"]),
        rounds=int(answer["rounds"]),
        reference=reorder_classes(_read_prediction(work / "reference.npy"), order, task),
        rounded=reorder_classes(_read_prediction(work / "rounded.npy"), order, task),
        source={"flavor": source.flavor, "file": str(source.kind), "sha256": file_digest(source.path)},
    )


def _load_model(family: str, folder: Path, schema: Schema, order: Sequence[int]) -> FittedModel:
    """The fitted model, read with the checks of every bundle of its family; InvalidRequest for an order of classes that
    the family cannot hold."""
    if family == ImportedSklearn.name:
        (folder / ORDER).write_text(json.dumps(list(order)), encoding="utf-8")
    elif list(order) != sorted(order):
        class_names = [schema.classes[position] for position in order]
        raise InvalidRequest(
            f"the model's classes are in the order {class_names}, model.yaml's are {list(schema.classes)}:"
            f" give positive_class: {class_names[-1]!r}"
            if schema.task is Task.BINARY
            else f"the model's classes are not in the order {list(schema.classes)}"
        )
    return family_named(family).load(folder, schema.task, len(schema.classes))


def _read_prediction(path: Path) -> Prediction:
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)


def _to_matrix(rows: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """The columns as a matrix (rows, columns) of float64, NaN where a value is missing."""
    matrix = np.empty((rows.num_rows, len(columns)))
    for position, name in enumerate(columns):
        values = pc.cast(rows.column(name), pa.float64(), safe=False)
        matrix[:, position] = pc.fill_null(values, np.nan).to_numpy()
    return matrix


def _search_params(family: str, task: Task, model_params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of our search space that the model has within its bounds, so that a search can start from them."""
    params: dict[str, Any] = {}
    for parameter in family_named(family).space(task):
        try:
            value: Any = float(model_params[parameter.name])
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(parameter, Categorical):
            fits = value in parameter.choices
        else:
            fits = parameter.low <= value <= parameter.high
        if fits:
            params[parameter.name] = int(value) if value.is_integer() else value
    return params
