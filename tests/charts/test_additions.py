"""The chart's test pod, its README, more variables, the default hub, and what administrators bound."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tacho_operator.config import load_settings
from tests.charts.test_chart import operator_environment
from tools.chart_readme import CHART, Value, readme, values
from tools.harness.helm import REQUIRED, ChartRefused, Helm, kinds


def _tests(helm: Helm) -> list[dict[str, Any]]:
    manifests = helm.template({"podSecurityContext": {"fsGroup": 7}}, tests=True)
    return [item for item in manifests if (item["metadata"].get("annotations") or {}).get("helm.sh/hook")]


def test_helm_test_needs_the_tacho_image_alone_and_is_restricted(helm: Helm) -> None:
    service, pod = sorted(_tests(helm), key=lambda item: str(item["kind"]), reverse=True)
    assert (service["kind"], pod["kind"]) == ("Service", "Pod")
    assert {item["metadata"]["annotations"]["helm.sh/hook"] for item in (service, pod)} == {"test"}
    (container,) = pod["spec"]["containers"]
    (deployment,) = kinds(helm.template(), "Deployment")
    (operator,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == operator["image"]
    assert container["securityContext"] == operator["securityContext"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    selector = service["spec"]["selector"].items()
    assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert not selector <= pod["metadata"]["labels"].items(), "it is no operator"
    (policy,) = kinds(helm.template(), "NetworkPolicy")
    (peer,) = policy["spec"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


DIGITS = {
    "watchNamespaces": ["1234"],
    "monitoringNamespace": "5678",
    "nameOverride": "12",
    "fullnameOverride": "true",
    "priorityClassName": "34",
    "serviceAccount": {"name": "56"},
    "replicas": 2,
    **{name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule")},
    "grafana": {"dashboards": {"enabled": True}},
}
WORDS = frozenset({"name", "namespace", "priorityClassName", "serviceAccountName"})
LABELS = frozenset({"labels", "matchLabels", "annotations"})


def unquoted(document: Any, path: str) -> Iterator[str]:
    """Where a name or a label is no text, which the API server refuses."""
    for key, value in document.items() if isinstance(document, dict) else ():
        texts = value.values() if key in LABELS and value else (value,) if key in WORDS else ()
        if not all(isinstance(text, str | dict) for text in texts):
            yield f"{path}.{key}: {value}"
        yield from unquoted(value, f"{path}.{key}")
    for item in document if isinstance(document, list) else ():
        yield from unquoted(item, path)


def test_names_may_be_digits(helm: Helm) -> None:
    """As are those of namespaces that a project's number names."""
    found = helm.run(
        "template", "789", str(CHART), "--namespace=42", stdin=json.dumps({**REQUIRED, **DIGITS})
    )
    manifests = [item for item in yaml.load_all(found, yaml.CSafeLoader) if item]
    others = [item for item in manifests if item["kind"] != "CustomResourceDefinition"]
    assert [place for item in others for place in unquoted(item, item["kind"])] == []
    assert {item["metadata"]["namespace"] for item in kinds(others, "Role")} == {"42", "1234"}


@pytest.fixture
def answering() -> Iterator[str]:
    """Answers 200 on /ready, else 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ready" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "says"), [("/ready", ""), ("/absent", "404")])
def test_what_helm_test_runs_says_what_did_not_answer(answering: str, path: str, says: str) -> None:
    program = (
        (CHART / "files" / "helm_test.py")
        .read_text()
        .replace("PATIENCE_SECONDS = 60", "PATIENCE_SECONDS = -1")
    )
    ask = (
        f"import sys; sys.argv = ['', '']\n{program.split('if __name__')[0]}print(ask({answering + path!r}))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip()[:3] == says


def _keys_twice(node: yaml.Node | None) -> list[str]:
    """Keys that a map below ``node`` has twice. Helm takes the last one; kustomize refuses them."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        below = [key for _, value in node.value for key in _keys_twice(value)]
        return [key for key in keys if keys.count(key) > 1] + below
    return (
        [key for item in node.value for key in _keys_twice(item)]
        if isinstance(node, yaml.SequenceNode)
        else []
    )


def test_a_label_that_is_set_twice_is_there_once_and_the_later_wins(helm: Helm) -> None:
    of_its_own = {"enabled": True, "labels": {"team": "own"}}
    given = {
        **REQUIRED,
        "commonLabels": {"team": "all", "app.kubernetes.io/part-of": "ours", "helm.sh/chart": "x"},
        "podLabels": {"team": "own", "app.kubernetes.io/version": "7"},
        **{name: of_its_own for name in ("serviceMonitor", "podMonitor", "prometheusRule")},
        "grafana": {"dashboards": of_its_own},
        "crds": {"install": False},
    }
    text = helm.run("template", "tacho", str(CHART), stdin=json.dumps(given))
    assert [key for node in yaml.compose_all(text, yaml.CSafeLoader) for key in _keys_twice(node)] == []
    manifests = helm.template(given)
    assert {item["metadata"]["labels"]["app.kubernetes.io/part-of"] for item in manifests} == {"ours"}
    (deployment,) = kinds(manifests, "Deployment")
    assert deployment["metadata"]["labels"]["team"] == "all"
    pod = deployment["spec"]["template"]["metadata"]["labels"]
    assert (pod["team"], pod["app.kubernetes.io/version"]) == ("own", "7")
    (monitor,) = kinds(manifests, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["team"] == "own"


def test_a_common_label_is_on_every_object(helm: Helm) -> None:
    """A cluster that admits only what names its owner refused the pod of helm test."""
    common = {"commonLabels": {"owner": "ml"}, "serviceMonitor": {"enabled": True}, "replicas": 2}
    without = [
        (item["kind"], item["metadata"]["name"])
        for item in helm.template(common, tests=True)
        if item["metadata"]["labels"].get("owner") != "ml"
    ]
    assert without == []


def test_a_common_label_replaces_that_of_a_definition(helm: Helm) -> None:
    documents = helm.template({"commonLabels": {"app.kubernetes.io/part-of": "ml"}})
    (definition,) = kinds(documents, "CustomResourceDefinition")
    assert definition["metadata"]["labels"] == {"app.kubernetes.io/part-of": "ml"}


def test_more_variables_reach_the_operator_and_none_twice(helm: Helm) -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
    (deployment,) = kinds(helm.template({"extraEnv": [proxy]}), "Deployment")
    assert proxy in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    with pytest.raises(ChartRefused, match="extraEnv names TACHO_WORKERS"):
        helm.template({"extraEnv": [{"name": "TACHO_WORKERS", "value": "1"}]})


def test_a_default_hub_reaches_the_operator_and_is_encrypted_unless_that_is_allowed(helm: Helm) -> None:
    mirror = "https://mirror.example"
    settings = load_settings(operator_environment(helm.template({"hub": {"endpoint": mirror}})))
    assert settings.decisions.hub_endpoint == mirror
    plain = {"endpoint": "http://mirror.home"}
    with pytest.raises(ChartRefused, match=r"hub\.endpoint is not encrypted"):
        helm.template({"hub": plain})
    allowed = load_settings(operator_environment(helm.template({"hub": {**plain, "allowInsecure": True}})))
    assert allowed.decisions.hub_endpoint == "http://mirror.home"


def test_the_notes_name_the_next_command_and_what_is_missing(helm: Helm) -> None:
    def notes(values: dict[str, Any]) -> str:
        flags = ("--dry-run=client", "--namespace=ops", "--disable-openapi-validation")
        given = json.dumps({**REQUIRED, **values})
        return helm.run("install", "mine", str(CHART), *flags, stdin=given).partition("\nNOTES:\n")[2]

    engines = {"engineImages": {"llamacpp": "example/llamacpp:1"}}
    assert "\n  helm test mine -n ops\n  kubectl apply -f examples/hub-gguf.yaml\n" in notes(engines)
    assert "No engine image" not in notes(engines)
    assert "No engine image is set" in notes({})
    assert "hub-gguf.yaml -n ml\n" in notes({"watchNamespaces": ["ml", "dev"]})
    assert "kubectl apply --server-side -f crds/" in notes({"crds": {"install": False}})


def test_the_chart_says_to_artifact_hub_what_it_is() -> None:
    found = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert found["kubeVersion"] == ">=1.30.0-0"
    (definition,) = yaml.safe_load(found["annotations"]["artifacthub.io/crds"])
    (crd,) = (yaml.safe_load(path.read_text()) for path in (CHART / "files/crds").glob("*.yaml"))
    assert definition["kind"] == crd["spec"]["names"]["kind"]
    assert definition["name"] == crd["metadata"]["name"]
    assert definition["version"] == crd["spec"]["versions"][0]["name"]
    (shown,) = yaml.safe_load(found["annotations"]["artifacthub.io/crdsExamples"])
    *_, example = yaml.safe_load_all((CHART.parents[1] / "examples/hub-gguf.yaml").read_text())
    assert shown["metadata"] == example["metadata"]
    assert all(example["spec"][name].items() >= value.items() for name, value in shown["spec"].items())


def test_the_readme_has_every_value_with_its_comment() -> None:
    text = "# A thing,\n# such as 1.\none: 1\nouter:\n  # Within.\n  inner: {a: b}\n  other: []\n"
    assert list(values(text)) == [
        Value("one", 1, "A thing, such as 1."),
        Value("outer.inner", {"a": "b"}, "Within."),
        Value("outer.other", [], ""),
    ]
    assert "| `bounds.replicas` | `0` |" in readme()


def test_every_value_of_the_chart_is_described() -> None:
    found = {value.path: value.comment for value in values((CHART / "values.yaml").read_text())}
    for path, comment in found.items():
        assert comment or found.get(path.rpartition(".")[0]), f"{path} has no comment, nor has its block"


def test_bounds_make_a_policy_where_one_is_set(helm: Helm) -> None:
    def bounded(**bounds: Any) -> bool:
        found = kinds(helm.template({"bounds": bounds}), "ValidatingAdmissionPolicy")
        return any(item["metadata"]["name"] == "tacho-bounds.tacho-system" for item in found)

    assert not bounded()
    assert bounded(replicas=3)
    assert bounded(namespaces={"team-a": {"imagePrefixes": ["r/"]}})
    with pytest.raises(ChartRefused, match="bounds"):
        helm.template({**REQUIRED, "bounds": {"replicas": -1}})
