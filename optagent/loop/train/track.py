"""Study tracking: the tracker is told the begin and the end of a search, and gets its plots where it succeeded."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from optagent.domain.study import Study
from optagent.errors import NotFound
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.ports import Studies

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class StudyRecord:
    """The metrics and tags with which a study is to end; `with_plots` adds its plots and importances."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    with_plots: bool = False


@asynccontextmanager
async def track_study(study: Study, ports: Ports, run: Run) -> AsyncIterator[StudyRecord]:
    """The record of a running study, to be filled in; a run that lost its process leaves the end to its successor."""
    ports.tracker.begin(study)
    record, succeeded = StudyRecord(), False
    try:
        yield record
        succeeded = True
    finally:
        if not run.is_lost:
            await asyncio.to_thread(_end_study, study, succeeded, record, ports)


def _end_study(study: Study, succeeded: bool, record: StudyRecord, ports: Ports) -> None:
    with TemporaryDirectory(prefix="optagent-study-") as scratch:
        folder = Path(scratch)
        with_plots = succeeded and record.with_plots and _draw_plots(study.study_id, ports.studies, folder)
        ports.tracker.end(study, succeeded, record.metrics, record.tags, folder if with_plots else None)


def _draw_plots(study_id: str, studies: Studies | None, folder: Path) -> bool:
    """True where the study's plots and importances were written to `folder`; an error is logged."""
    if studies is None:
        return False
    try:
        page = studies.draw(study_id)
        (folder / "study.html").write_text(page, encoding="utf-8")
        importances = dict(studies.study(study_id).importances)
        (folder / "importances.json").write_text(json.dumps(importances, indent=2), encoding="utf-8")
    except NotFound:  # a tuner that keeps no trials
        return False
    except Exception as error:
        _log.warning("the plots of %s are not drawn: %s: %s", study_id, type(error).__name__, error)
        return False
    return True
