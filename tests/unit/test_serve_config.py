"""`serve.yaml` sets Serve up as `optagent up` does."""

from pathlib import Path

import yaml

from optagent.adapters.cluster.serve_environment import SERVE_ON_CLUSTER
from optagent.settings import Settings

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "serve.yaml").read_text())


def test_both_ways_to_deploy_set_the_same_environment():
    assert CONFIG["controller_options"]["runtime_env"]["env_vars"] == SERVE_ON_CLUSTER


def test_its_arguments_are_settings():
    [application] = CONFIG["applications"]
    assert set(application["args"]) <= set(Settings.model_fields)
