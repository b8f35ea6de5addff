"""Frozen champion: the first version's answers to the rows that were asked, as if no other had ever been trained."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from optagent.bootstrap import model_parts
from optagent.loop.train.load import load_version
from optagent.settings import Settings
from optagent.training.predictor import Predictor


class FrozenChampion:
    """Answers rows by their index in `rows`; those that it has answered already are not asked again."""

    def __init__(self, predictor: Predictor, rows: pd.DataFrame) -> None:
        self.answers: list[float] = []
        self._predictor = predictor
        self._rows = rows.drop(columns=["at"])

    @classmethod
    def of_version(cls, settings: Settings, model_id: str, version: str, rows: pd.DataFrame) -> "FrozenChampion":
        registry = model_parts.registry(settings)
        return cls(load_version(registry.version(model_id, version), registry), rows)

    def catch_up(self, asked: Sequence[int]) -> None:
        """Answers those of the asked rows that are new; `asked` only ever grows at its end."""
        new = list(asked[len(self.answers) :])
        if new:
            table = pa.Table.from_pandas(self._rows.loc[new], preserve_index=False)
            self.answers.extend(float(value) for value in self._predictor.probabilities(table))
