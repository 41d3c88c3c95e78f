"""docs/authorizer.md says what the rule denies, and shows the flags that our own clusters run with."""

from __future__ import annotations

import yaml

from countersign.domain import authorize
from tests.controlplane.paths import ROOT
from tests.docs.pages import page

PAGE = page("docs/authorizer.md")
KIND = yaml.safe_load((ROOT / "kind-config.yaml").read_text())


def test_the_table_names_every_verb_and_group_of_the_rule() -> None:
    table = "\n".join(line for line in PAGE.text.splitlines() if line.startswith("| "))
    named = {
        authorize.IMPERSONATE,
        authorize.UNSAFE_DELETE,
        authorize.SYSTEM_NAMESPACE,
        *authorize.CONFIGURATION_GROUPS,
        *authorize.RBAC_VERBS,
        *authorize.SIGNER_VERBS,
        *(f"nodes/{subresource}" for subresource in authorize.KUBELET),
    }
    assert not [name for name in named if f"`{name}`" not in table]


def test_kubeadm_is_shown_what_our_kind_cluster_has() -> None:
    [shown] = [block.text for block in PAGE.blocks("") if block.text.startswith("apiServer:")]
    [patch] = [each for each in map(yaml.safe_load, KIND["kubeadmConfigPatches"]) if each.get("apiVersion") == "kubeadm.k8s.io/v1beta4"]
    for key, entries in yaml.safe_load(shown)["apiServer"].items():
        for entry in entries:
            assert entry in patch["apiServer"][key]


def test_the_folder_that_is_mounted_holds_what_an_api_server_starts_with() -> None:
    [mount] = [each for each in KIND["nodes"][0]["extraMounts"] if each["containerPath"] == "/etc/kubernetes/countersign"]
    read = yaml.safe_load((ROOT / mount["hostPath"] / "authorization.yaml").read_text())
    assert [each["type"] for each in read["authorizers"]] == ["Node", "RBAC"]
