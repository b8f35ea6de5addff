"""Skops files of scikit-learn models, which hold data and the names of types, never code.

A file may name the types of our list and no others: by itself skops trusts more types, and asks about the rest. Skops
does not check that a tree's node numbers stay within the tree, and scikit-learn trusts them, so they are checked here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from optagent.errors import CorruptBundle
from optagent.training.families.sklearn_trees import check_forest, check_hist

_BOOSTING = "sklearn.ensemble._hist_gradient_boosting"

TYPES = frozenset(
    {
        "builtins.dict",
        "builtins.int",
        "builtins.list",
        "builtins.slice",
        "builtins.str",
        "builtins.tuple",
        "functools.partial",
        "numpy.dtype",
        "numpy.float32",
        "numpy.float64",
        "numpy.int32",
        "numpy.int64",
        "numpy.ndarray",
        "numpy.random._generator.Generator",
        "numpy.uint64",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss._loss.CyPinballLoss",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        f"{_BOOSTING}.binning._BinMapper",
        f"{_BOOSTING}.gradient_boosting.HistGradientBoostingClassifier",
        f"{_BOOSTING}.gradient_boosting.HistGradientBoostingRegressor",
        f"{_BOOSTING}.predictor.TreePredictor",
        "sklearn.impute._base.MissingIndicator",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.QuantileTransformer",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder",
        "sklearn.preprocessing._encoders.OrdinalEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        "sklearn.preprocessing._label.LabelEncoder",
        "sklearn.preprocessing._target_encoder.TargetEncoder",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    }
)
LOADERS = frozenset(
    {
        "CachedNode",
        "DTypeNode",
        "DictNode",
        "FunctionNode",
        "JsonNode",
        "ListNode",
        "LossNode",
        "NdArrayNode",
        "ObjectNode",
        "PartialNode",
        "RandomGeneratorNode",
        "SliceNode",
        "TreeNode",
        "TupleNode",
        "TypeNode",
    }
)
_OLDEST_PROTOCOL = 2


def save(model: Any, path: Path) -> None:
    """Writes a fitted scikit-learn model."""
    import skops.io

    skops.io.dump(model, path)


def load(path: Path) -> Any:
    """The model of a file; raises CorruptBundle for a file that is broken, or names a type outside TYPES."""
    import skops.io

    try:
        with path.open("rb") as file:
            with ZipFile(file) as archive:
                _check_archive(archive, path.name)
            file.seek(0)
            model = skops.io.load(file, trusted=sorted(TYPES))
        check_forest(model)
        check_hist(model)
    except CorruptBundle:
        raise
    # A broken file can fail anywhere in skops, zipfile, json, numpy or a type's own __setstate__.
    except Exception as error:
        raise CorruptBundle(f"{path.name}: {type(error).__name__}: {str(error)[:300]}") from error
    return model


def _check_archive(archive: ZipFile, name: str) -> None:
    # We never compress, so a file cannot unpack to more than its size.
    if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
        raise CorruptBundle(f"{name}: holds compressed data, which optagent never writes")
    schema = json.loads(archive.read("schema.json"))
    if not isinstance(schema, dict) or not isinstance(schema.get("protocol"), int):
        raise CorruptBundle(f"{name}: has no schema")
    if schema["protocol"] < _OLDEST_PROTOCOL:
        raise CorruptBundle(f"{name}: skops protocol {schema['protocol']} is older than {_OLDEST_PROTOCOL}")
    nodes = list(_nodes(schema))
    unknown = {f"{node.get('__module__')}.{node.get('__class__')}" for node in nodes} - TYPES
    if unknown:
        raise CorruptBundle(f"{name}: holds {sorted(unknown)}, which no model of optagent holds")
    loaders = {str(node["__loader__"]) for node in nodes} - LOADERS
    if loaders:
        raise CorruptBundle(f"{name}: asks for {sorted(loaders)}, which no model of optagent does")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All nodes at any depth, except cached nodes, which repeat an earlier node and name no type of their own."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "__loader__" in item and item["__loader__"] != "CachedNode":
                yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
