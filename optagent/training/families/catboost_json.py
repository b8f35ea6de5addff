"""Plain form of CatBoost's JSON models, and its validation before the library reads them.

CatBoost 1.2 trusts the numbers of a tree's splits and of the tables of its category statistics. The plain form has no
facts about the training, such as times, which would make the same model another file.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from optagent.errors import CorruptBundle

Document = Mapping[str, Any]

_PARTS = frozenset({"ctr_data", "features_info", "oblivious_trees", "scale_and_bias"})
_FEATURES = frozenset({"float_features", "categorical_features", "ctrs"})
_MOST_SPLITS = 16
_LARGEST_HASH = 2**64
_LARGEST_COUNT = 2**31
_FEWEST_COLUMNS = {"Borders": 3, "Counter": 2}
"""Numbers of a row in the table of a statistic: a hash and, for targets, a count of each class; or one count."""


def plain_document(text: str, loss: str) -> Document:
    """The parts of a model that predict, and the name of its loss."""
    document = json.loads(text)
    parts = {name: document[name] for name in sorted(_PARTS) if document.get(name) is not None}
    for tree in parts["oblivious_trees"]:
        tree["splits"] = tree["splits"] or []
    return {**parts, "model_info": {"loss": loss}}


def parse_model(text: str, loss: str, outputs: int) -> Document:
    """The document of a model file; raises CorruptBundle for one that is cut short, belongs to another task, or points
    outside itself."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
        kind, bias = document["model_info"]["loss"], document["scale_and_bias"][1]
        if kind != loss or len(bias) != outputs:
            raise CorruptBundle(
                f"model.json: a {loss} model of {outputs} outputs is needed, got {kind!r} of {len(bias)}"
            )
        sound = document["model_info"] == {"loss": loss} and _is_sound(document, outputs)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CorruptBundle(f"model.json: {error!r}"[:300]) from error
    if not sound:
        raise CorruptBundle("model.json: a tree or a table points outside itself, or parts are missing or unknown")
    checked: Document = document
    return checked


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no finite number")


def _is_sound(document: Document, outputs: int) -> bool:
    scale, bias = document["scale_and_bias"]
    features, trees = document["features_info"], document["oblivious_trees"]
    if not _PARTS | {"model_info"} >= document.keys() or not features.keys() <= _FEATURES:
        return False
    if type(scale) is not int or scale != 1 or not _are_numbers(bias) or not trees or not _are_features_sound(features):
        return False
    tables, ctrs = document.get("ctr_data", {}), features.get("ctrs", [])
    if not all(_is_ctr_sound(ctr, features, tables) for ctr in ctrs) or not all(map(_is_table_sound, tables.values())):
        return False
    splits = list(list_splits(features))
    return all(_is_tree_sound(tree, splits, outputs) for tree in trees)


def list_splits(features: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All splits that trees may have, in the order in which their `split_index` counts them."""
    for feature in features.get("float_features", ()):
        for border in feature["borders"]:
            column = feature["feature_index"]
            yield {"split_type": "FloatFeature", "float_feature_index": column, "border": border}
    for feature in features.get("categorical_features", ()):
        for value in feature.get("values", ()):
            yield {"split_type": "OneHotFeature", "cat_feature_index": feature["feature_index"], "value": value}
    for ctr in features.get("ctrs", ()):
        for border in ctr["borders"]:
            yield {"split_type": "OnlineCtr", "ctr_target_border_idx": ctr["target_border_idx"], "border": border}


def _is_tree_sound(tree: Mapping[str, Any], splits: Sequence[dict[str, Any]], outputs: int) -> bool:
    if tree.keys() != {"leaf_values", "leaf_weights", "splits"} or len(tree["splits"]) > _MOST_SPLITS:
        return False
    for split in tree["splits"]:
        number = split["split_index"]
        if not _is_count(number, len(splits)) or split != {**splits[number], "split_index": number}:
            return False
    leaves = 2 ** len(tree["splits"])
    values, weights = tree["leaf_values"], tree["leaf_weights"]
    return len(values) == outputs * leaves and len(weights) == leaves and _are_numbers(values) and _are_numbers(weights)


def _are_features_sound(features: Mapping[str, Any]) -> bool:
    floats, categories = features.get("float_features", []), features.get("categorical_features", [])
    places = [feature["flat_feature_index"] for feature in (*floats, *categories)]
    if sorted(places) != list(range(len(places))) or not all(type(place) is int for place in places):
        return False
    return all(_is_float_sound(feature, number) for number, feature in enumerate(floats)) and all(
        _is_category_sound(feature, number) for number, feature in enumerate(categories)
    )


def _is_float_sound(feature: Mapping[str, Any], number: int) -> bool:
    expected = {**_feature_facts(feature, number), "borders": feature["borders"], "has_nans": feature["has_nans"]}
    treatment = feature["nan_value_treatment"]
    if feature != {**expected, "nan_value_treatment": treatment} or treatment not in ("AsIs", "AsFalse"):
        return False
    return type(feature["has_nans"]) is bool and _are_ascending(feature["borders"])


def _is_category_sound(feature: Mapping[str, Any], number: int) -> bool:
    values = feature.get("values", [])
    expected = _feature_facts(feature, number)
    if feature != expected and feature != {**expected, "values": values}:
        return False
    whole = all(type(value) is int and -_LARGEST_COUNT <= value < _LARGEST_COUNT for value in values)
    return whole and len(set(values)) == len(values)


def _feature_facts(feature: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The numbers of a column; CatBoost names columns by their place, and those of a table of numbers alone by ''."""
    place = feature["flat_feature_index"]
    name = str(place) if feature["feature_id"] else ""
    return {"feature_id": name, "feature_index": number, "flat_feature_index": place}


def _is_ctr_sound(ctr: Mapping[str, Any], features: Mapping[str, Any], tables: Mapping[str, Any]) -> bool:
    """True for a statistic of existing features, whose table has the counts that it needs."""
    numbers = ("prior_denomerator", "prior_numerator", "scale", "shift")
    if ctr.keys() != {"borders", "ctr_type", "elements", "identifier", "target_border_idx", *numbers}:
        return False
    kind, elements, name = ctr["ctr_type"], ctr["elements"], ctr["identifier"]
    if json.loads(name) != {"identifier": elements, "type": kind} or kind not in _FEWEST_COLUMNS:
        return False
    targets = tables[name]["hash_stride"] - 2 if kind == "Borders" else 1
    return (
        tables[name]["hash_stride"] >= _FEWEST_COLUMNS[kind]
        and _is_count(ctr["target_border_idx"], targets)
        and any(element["combination_element"] == "cat_feature_value" for element in elements)
        and all(_is_element_sound(element, features) for element in elements)
        and _are_numbers([ctr[number] for number in numbers])
        and _are_ascending(ctr["borders"])
    )


def _is_element_sound(element: Mapping[str, Any], features: Mapping[str, Any]) -> bool:
    kind = element["combination_element"]
    if kind == "float_feature":
        column, border = element["float_feature_index"], element["border"]
        is_known = _is_count(column, len(features["float_features"]))
        expected = {"combination_element": kind, "float_feature_index": column, "border": border}
        return is_known and element == expected and border in features["float_features"][column]["borders"]
    column = element["cat_feature_index"]
    if not _is_count(column, len(features["categorical_features"])):
        return False
    expected = {"combination_element": kind, "cat_feature_index": column}
    if kind == "cat_feature_value":
        return element == expected
    value = element["value"]
    is_known = value in features["categorical_features"][column].get("values", ())
    return kind == "cat_feature_exact_value" and is_known and element == {**expected, "value": value}


def _is_table_sound(table: Mapping[str, Any]) -> bool:
    """True for rows of a hash and counts, no hash twice."""
    width, cells = table["hash_stride"], table["hash_map"]
    if table.keys() != {"counter_denominator", "hash_map", "hash_stride"} or type(width) is not int:
        return False
    if width < 2 or len(cells) % width or not _is_count(table["counter_denominator"], _LARGEST_COUNT):
        return False
    hashes = cells[::width]
    if not all(
        type(each) is str and each.isascii() and each.isdigit() and int(each) < _LARGEST_HASH for each in hashes
    ):
        return False
    counts = [cell for place, cell in enumerate(cells) if place % width]
    return len(set(hashes)) == len(hashes) and all(_is_count(count, _LARGEST_COUNT) for count in counts)


def _is_count(value: Any, below: int) -> bool:
    return type(value) is int and 0 <= value < below


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _are_ascending(borders: Sequence[Any]) -> bool:
    return _are_numbers(borders) and all(low < high for low, high in pairwise(borders))
