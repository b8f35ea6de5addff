"""Deployment files as their reader finds them: nothing runs as root, without a bound or with a secret in the open."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from optagent.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SECRET = re.compile(r"PASSWORD$|TOKEN$|SECRET$|KEY$")


def documents() -> Iterator[dict[str, Any]]:
    """Each object that `kubectl apply -k` makes, as it is written."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text())


def pod_templates() -> dict[str, dict[str, Any]]:
    templates = {}
    for document in documents():
        spec = document.get("spec", {})
        if "template" in spec:
            templates[document["metadata"]["name"]] = spec["template"]
        cluster = spec.get("rayClusterConfig")
        if cluster:
            templates["head"] = cluster["headGroupSpec"]["template"]
            templates |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return templates


PODS = pod_templates()
CONTAINERS = [
    pytest.param(container, id=f"{pod}/{container['name']}")
    for pod, template in PODS.items()
    for container in template["spec"]["containers"]
]


def variables_of(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container.get("env", [])}


def known_settings() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("pod", PODS, ids=str)
def test_pods_run_without_root_and_without_the_host(pod):
    spec = PODS[pod]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all("hostPath" not in volume for volume in spec.get("volumes", []))


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_have_probes_bounds_and_no_privileges(container):
    assert {"readinessProbe", "livenessProbe"} <= set(container)
    for bound in ("requests", "limits"):
        assert {"cpu", "memory"} <= set(container["resources"][bound])
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize("container", CONTAINERS)
def test_secrets_come_from_secrets_and_settings_exist(container):
    for name, variable in variables_of(container).items():
        assert not SECRET.search(name) or "secretKeyRef" in variable["valueFrom"], name
        assert not name.startswith(PREFIX) or name in known_settings(), name


@pytest.mark.parametrize("container", CONTAINERS)
def test_images_are_ours_or_of_one_version(container):
    assert container["image"] == "optagent" or re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", container["image"])


def test_secrets_that_pods_name_are_those_that_are_made():
    example = (KUBERNETES / "secrets.env.example").read_text().splitlines()
    keys = {line.partition("=")[0] for line in example if line and not line.startswith("#")}
    named = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for template in PODS.values()
        for container in template["spec"]["containers"]
        for variable in variables_of(container).values()
        if "valueFrom" in variable
    }
    assert named == keys
    assert all(line.endswith("=") for line in example if line and not line.startswith("#")), "an example has no secret"


def test_the_ray_service_deploys_serve_yaml_with_the_locked_ray():
    (service,) = [document for document in documents() if document["kind"] == "RayService"]
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == yaml.safe_load((ROOT / "serve.yaml").read_text())
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == version("ray")


def test_only_the_api_is_reached_from_other_namespaces():
    policies = [document for document in documents() if document["kind"] == "NetworkPolicy"]
    assert any(policy["spec"]["podSelector"] == {} for policy in policies), "all pods are behind a policy"
    for policy in policies:
        for rule in policy["spec"]["ingress"]:
            foreign = [source for source in rule["from"] if "namespaceSelector" in source]
            assert not foreign or rule["ports"], "other namespaces reach named ports only"


def test_kubernetes_knows_every_field():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for document in documents():
        if document["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(document, "1.33", strict=True)
    for name, template in PODS.items():
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod | {"metadata": {"name": name}}, "1.33", strict=True)


def test_services_of_compose_are_bounded_and_unprivileged():
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"], name
        assert service["healthcheck"] if name != "optagent" else True, name
        assert "privileged" not in service, name
        assert set(service.get("environment", {})) - known_settings() <= {
            "RAY_AUTH_MODE",
            "RAY_AUTH_TOKEN_PATH",
            "RAY_worker_niceness",
            "RAY_agent_register_timeout_ms",
        }


def test_compose_publishes_the_api_on_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"optagent": ["127.0.0.1:8000:8000"]}


def test_state_of_compose_is_in_named_volumes():
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert named - {"./data"} == set(COMPOSE["volumes"])


def test_the_image_is_locked_and_does_not_run_as_root():
    lines = (DEPLOY / "Dockerfile").read_text()
    assert lines.count("--require-hashes") == 2
    assert re.search(r"^USER 10001$", lines, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", lines, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources == allowed, "what is copied is what the builder gets"
    assert all((ROOT / source).exists() for source in sources)


def test_tools_of_the_image_are_in_the_lock():
    tools = re.search(r"wanted = /\^\(([^)]*)\)==/", (DEPLOY / "Dockerfile").read_text())
    assert tools is not None
    lock = (ROOT / "requirements-dev.txt").read_text()
    assert all(re.search(rf"^{name}==", lock, re.MULTILINE) for name in tools[1].split("|"))
