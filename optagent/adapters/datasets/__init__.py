"""Datasets: the adapters that read the rows of a model from files and databases."""

from optagent.adapters.datasets.reader import FileDatasets

__all__ = ["FileDatasets"]
