"""Files alone, asked why."""

import pytest

from ambient.control import offline
from ambient.core.errors import ConfigError
from ambient.core.explain.answer import Question, Topic, Verdict

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.88.0.10, selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, namespace: shop, annotations: {ambient.dev/tunnel: hbone}}
spec: {address: %s, labels: {app: %s}, serviceAccount: %s}
"""
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-web, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop.yaml").write_text(SHOP)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "entries.yml").write_text(
        "---".join(ENTRY % (name, ip, name, name) for name, ip in (("web", "10.0.0.1"), ("api", "10.0.0.2")))
    )
    (tmp_path / "notes.txt").write_text("not yaml: [")
    return tmp_path


def test_a_folder_says_why_a_call_would_work(folder):
    assert offline.explain([folder], Question("web", "api")).verdict is Verdict.OK


def test_a_policy_in_a_file_of_its_own_is_asked(folder, tmp_path_factory):
    policy = tmp_path_factory.mktemp("more") / "deny.yaml"
    policy.write_text(DENY)
    explanation = offline.explain([folder, policy], Question("web", "api"))
    assert explanation.verdict is Verdict.FAILS
    assert [step.origin.name for step in explanation.steps if step.topic is Topic.POLICY] == ["no-web"]


def test_what_is_refused_is_said_and_nothing_is_explained(folder):
    (folder / "shop.yaml").write_text(SHOP.replace("port: 80,", "port: 80000,"))
    with pytest.raises(
        ConfigError, match=r"shop\.yaml: line 9: Service shop/api: spec\.ports\[0\]\.port is 80000"
    ):
        offline.explain([folder], Question("web", "api"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read: No such file"):
        offline.explain([tmp_path / "nothing.yaml"], Question("web", "api"))
