"""Ports: the loop's interfaces to the outside. One contract suite tests an in-memory and a real adapter of each."""

from optagent.ports.data import Clock, Datasets, Observations, OpenRows, RecordKind
from optagent.ports.histories import Histories
from optagent.ports.models import Importer, Registry
from optagent.ports.notifying import Notifier
from optagent.ports.row_files import RowBatches, RowFiles, RowOutput, RowScratch
from optagent.ports.search import OnProgress, OnTrial, Studies, Tracker, Tuner
from optagent.ports.serving import IdempotencyStore, Launcher, Loader, Routes, Sessions, Tokens
from optagent.ports.state import Monitors, Store
from optagent.ports.workers import WorkerPool, Workers

__all__ = [
    "Clock",
    "Datasets",
    "Histories",
    "IdempotencyStore",
    "Importer",
    "Launcher",
    "Loader",
    "Monitors",
    "Notifier",
    "Observations",
    "OnProgress",
    "OnTrial",
    "OpenRows",
    "RecordKind",
    "Registry",
    "Routes",
    "RowBatches",
    "RowFiles",
    "RowOutput",
    "RowScratch",
    "Sessions",
    "Store",
    "Studies",
    "Tokens",
    "Tracker",
    "Tuner",
    "WorkerPool",
    "Workers",
]
