"""Optional libraries: without one, the work that needs it is refused with the command that installs it."""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.datasets import FileDatasets
from optagent.bootstrap import Serving, model_parts, parts
from optagent.cli import main
from optagent.domain.command import TuneModel
from optagent.domain.dataset import SqlSource
from optagent.errors import MissingExtra, ModelNotFound
from optagent.extras import EXTRAS, is_installed
from optagent.loop.commands import check_command
from optagent.loop.context import Ports
from optagent.settings import Settings
from optagent.training.families.registry import family_named

ROOT = Path(__file__).parents[2]
Block = Callable[..., None]


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Block:
    """Makes libraries count as not installed."""

    def block_libraries(*libraries: str) -> None:
        for library in libraries:
            monkeypatch.setitem(sys.modules, library, None)

    return block_libraries


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, _env_file=None)


def ports_without(settings: Settings) -> Ports:
    """Ports of the composition root that check no service; the others are not asked."""
    cluster = parts.cluster(settings)
    nothing: Any = None
    return Ports(nothing, nothing, parts.tuner(settings, cluster), model_parts.registry(settings), nothing, nothing)


def draw(settings: Settings) -> object:
    return parts.draw_report(None)  # type: ignore[arg-type]


def query(settings: Settings) -> object:
    return FileDatasets(10).read(SqlSource("sqlite:///rows.db", "select 1"))


def notify(settings: Settings) -> object:
    channels = {"enable_notifications": True, "notification_urls": "json://127.0.0.1:9"}
    return parts.notifier(Settings(home=settings.home, _env_file=None, **channels))


def sample(settings: Settings) -> object:
    from optagent.adapters.search.hyperopt_sampler import HyperoptSampler

    return HyperoptSampler(0)


@pytest.mark.parametrize(
    ("library", "extra", "work"),
    [
        ("apprise", "notify", notify),
        ("catboost", "catboost", lambda settings: family_named("catboost")),
        ("fastapi", "serve", lambda settings: Serving(settings).up()),
        ("hyperopt", "search", sample),
        ("jinja2", "pages", draw),
        ("mlflow", "mlflow", lambda settings: model_parts.importer(settings).convert()),  # type: ignore[call-arg]
        ("mlflow", "mlflow", lambda settings: model_parts.registry(settings).register()),  # type: ignore[call-arg]
        ("optuna", "search", lambda settings: parts.studies(settings).summaries()),
        ("plotly", "pages", draw),
        ("ray", "search", lambda settings: parts.cluster(settings).connect()),
        ("ray", "search", lambda settings: parts.monitors(parts.cluster(settings), None, settings).start("churn")),  # type: ignore[arg-type]
        ("ray", "serve", lambda settings: Serving(settings).up()),
        ("sqlalchemy", "sql", query),
        ("xgboost", "search", lambda settings: family_named("xgboost")),
    ],
)
def test_work_without_its_library_is_refused_with_the_command_that_installs_it(block, settings, library, extra, work):
    block(library)
    message = rf'needs {library}, which is not installed: pip install "optagent\[{extra}\]"$'
    with pytest.raises(MissingExtra, match=message):
        work(settings)


@pytest.mark.parametrize("library", ["ray", "optuna", "mlflow"])
async def test_a_search_is_refused_before_a_process_is_stored(block, settings, library):
    block(library)
    with pytest.raises(MissingExtra, match=f"needs {library}"):
        await check_command(TuneModel("churn"), ports_without(settings))


def test_an_mlflow_that_is_configured_or_was_used_is_not_passed_over(block, settings):
    block("mlflow")
    model_parts.tracker(settings).check()
    configured = settings.model_copy(update={"mlflow_tracking_uri": "http://ann:secret@mlflow:5000"})
    with pytest.raises(MissingExtra, match="the MLflow at http://mlflow:5000 needs mlflow"):
        model_parts.tracker(configured)
    (settings.home / "mlflow").mkdir()
    (settings.home / "mlflow" / "mlflow.db").touch()
    with pytest.raises(MissingExtra):
        model_parts.tracker(settings)


def test_a_home_without_mlflow_has_no_versions(block, settings):
    block("mlflow")
    registry = model_parts.registry(settings)
    assert registry.versions("churn") == []
    with pytest.raises(ModelNotFound, match="MLflow is not installed"):
        registry.version("churn", "champion")


def test_without_ray_work_for_a_pool_is_done_in_this_process(block, settings):
    block("ray")
    with parts.workers(parts.cluster(settings), settings).share(10) as pool:
        assert (pool.size, pool.map(int.__add__, [1, 2])) == (1, [11, 12])


def test_without_ray_a_configured_cluster_is_not_passed_over(block, settings):
    block("ray")
    elsewhere = settings.model_copy(update={"ray_address": "10.0.0.1:6379"})
    with pytest.raises(MissingExtra), parts.workers(parts.cluster(elsewhere), elsewhere).share(10):
        pass


def test_the_command_line_ends_with_2_where_an_import_of_an_optional_library_fails(block, capsys, monkeypatch):
    def fail(*given: object, **named: object) -> None:
        raise ModuleNotFoundError("No module named 'ray.serve'", name="ray.serve")

    monkeypatch.setattr("optagent.cli.app", fail)
    with pytest.raises(SystemExit) as ended:
        main(["models"])
    assert ended.value.code == 2
    assert 'this command needs ray, which is not installed: pip install "optagent[search]"' in capsys.readouterr().err


def test_the_failed_import_of_any_other_module_is_no_refusal(monkeypatch):
    def fail(*given: object, **named: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("optagent.cli.app", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["models"])


def test_every_optional_library_is_installed_by_its_extra_and_is_none_of_the_core():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {extra: [name_of(line) for line in lines] for extra, lines in project["optional-dependencies"].items()}
    assert [library for library, extra in EXTRAS.items() if library not in names[extra]] == []
    assert set(EXTRAS) & {name_of(line) for line in project["dependencies"]} == set()
    assert all(map(is_installed, EXTRAS))


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=;~! ]", requirement)[0]
