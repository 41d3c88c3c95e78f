"""State, files, kubeconfigs, certificates, values, logs: what is pure in the harness."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.controlplane import api, chart, docker, files, jsonlines, kubeconfig, nodelogs, people, pki, state, up, waiting
from tests.controlplane.errors import ClusterDown, HarnessError, StartFailed
from tests.controlplane.kubeconfig import Credentials, Server
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress

QUIET = Progress(quiet=True)


class TestState:
    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        written = state.State("local", ready=True, ports={"etcd": 20001})
        state.save(Layout(tmp_path), written)
        assert state.load(Layout(tmp_path)) == written

    def test_none_at_first(self, tmp_path: Path) -> None:
        assert state.load(Layout(tmp_path)) is None
        with pytest.raises(ClusterDown, match="make up"):
            state.demand(Layout(tmp_path))

    @pytest.mark.parametrize("text", ["Local", "", "minikube"])
    def test_another_kind_of_cluster_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(HarnessError, match="it takes `local`"):
            state.kind_of(text)

    def test_the_other_kind_being_up_is_said(self, tmp_path: Path) -> None:
        state.save(Layout(tmp_path), state.State("kind"))
        with pytest.raises(ClusterDown, match=r"a kind cluster is up.*make down"):
            up.prepare(Layout(tmp_path), "local", QUIET)

    def test_two_checkouts_have_kind_clusters_of_their_own(self) -> None:
        assert Layout(Path("/a/.cluster")).kind_name != Layout(Path("/b/.cluster")).kind_name
        assert Layout(Path("/a/.cluster")).kind_name == Layout(Path("/a/.cluster")).kind_name


class TestFiles:
    def test_nothing_is_left_of_a_write_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            files.write(tmp_path / "ca.key", "secret")
        assert list(tmp_path.iterdir()) == []

    def test_keys_are_for_the_owner_only(self, tmp_path: Path) -> None:
        files.write(tmp_path / "ca.key", b"secret")
        assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600

    def test_a_link_replaces_the_one_before(self, tmp_path: Path) -> None:
        files.link(tmp_path, {"kubectl": Path("/one")})
        files.link(tmp_path, {"kubectl": Path("/two")})
        assert (tmp_path / "kubectl").readlink() == Path("/two")

    def test_a_lock_is_for_one(self, tmp_path: Path) -> None:
        waited: list[bool] = []
        script = (
            "import sys, time; from pathlib import Path; from tests.controlplane.files import lock\n"
            f"with lock(Path({str(tmp_path / 'lock')!r}), lambda: None):\n    print('held', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"

            def let_go() -> None:
                waited.append(True)
                assert holder.stdin is not None
                holder.stdin.close()

            with files.lock(tmp_path / "lock", let_go):
                assert waited == [True]


class TestCertificates:
    def test_a_client_certificate_says_who_and_in_which_groups(self, tmp_path: Path) -> None:
        authority = pki.Authority.load_or_make(tmp_path / "ca.crt", tmp_path / "ca.key")
        certificate = x509.load_pem_x509_certificate(authority.client("bob@example.com", ["sre", "payments"]).certificate)
        assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["bob@example.com"]
        assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["sre", "payments"]
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
        assert certificate.not_valid_before_utc < dt.datetime.now(dt.UTC) < certificate.not_valid_after_utc

    def test_the_authority_is_made_once(self, tmp_path: Path) -> None:
        pki.Authority.load_or_make(tmp_path / "ca.crt", tmp_path / "ca.key")
        first = (tmp_path / "ca.crt").read_bytes()
        pki.Authority.load_or_make(tmp_path / "ca.crt", tmp_path / "ca.key")
        assert (tmp_path / "ca.crt").read_bytes() == first


class TestKubeconfig:
    @pytest.mark.parametrize("pair", [None, pki.Pair(b"certificate", b"key")])
    def test_is_read_as_it_was_written(self, tmp_path: Path, pair: pki.Pair | None) -> None:
        server = Server("here", "https://127.0.0.1:1", b"authority")
        written = Credentials(server, "bob", pair, None if pair else "token")
        kubeconfig.save(tmp_path / "config", written)
        assert kubeconfig.load(tmp_path / "config") == written


class TestPaths:
    @pytest.mark.parametrize(
        ("made", "expected"),
        [
            (api.path("namespaces"), "/api/v1/namespaces"),
            (api.path("namespaces", "payments"), "/api/v1/namespaces/payments"),
            (api.path("pods", "x", namespace="n", subresource="proxy"), "/api/v1/namespaces/n/pods/x/proxy"),
            (api.path("approvals", "a"), "/apis/kube-countersign.dev/v1alpha1/approvals/a"),
            (api.path("clusterrolebindings", "harness:a/b"), "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/harness:a%2Fb"),
        ],
    )
    def test_by_plural(self, made: str, expected: str) -> None:
        assert made == expected

    def test_an_unknown_plural_is_no_guess(self) -> None:
        with pytest.raises(KeyError):
            api.path("widgets")


def test_values_are_merged_as_helm_does() -> None:
    base = {"requestTTL": "24h", "default": {"mode": "Enforce", "approvals": {"required": 1, "teams": ["a"]}}}
    over = {"default": {"approvals": {"required": 2, "teams": []}}, "coolOff": "2s"}
    assert chart.merged(base, over) == {
        "requestTTL": "24h",
        "coolOff": "2s",
        "default": {"mode": "Enforce", "approvals": {"required": 2, "teams": []}},
    }
    assert base["default"] == {"mode": "Enforce", "approvals": {"required": 1, "teams": ["a"]}}


class TestLogs:
    def test_container_logs_are_split_into_streams_and_parts_joined(self) -> None:
        text = """\
2026-11-22T02:00:00.1Z stdout P {"a":
2026-11-22T02:00:00.1Z stderr F watch restarted
2026-11-22T02:00:00.1Z stdout F 1}
2026-11-22T02:00:00.2Z stderr F
"""
        assert nodelogs.lines(text, "stdout") == ['{"a":1}']
        assert nodelogs.lines(text, "stderr") == ["watch restarted", ""]

    def test_a_line_that_is_being_written_waits(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text('{"a": 1}\n{"a": 2}\n{"a"')
        assert jsonlines.read(tmp_path / "log") == [{"a": 1}, {"a": 2}]

    def test_a_line_that_is_not_json_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("Traceback\n")
        with pytest.raises(ValueError, match="Expecting value"):
            jsonlines.read(tmp_path / "log")


def test_old_images_are_those_of_ours_beyond_the_newest() -> None:
    assert docker.superseded(["dev-4", "latest", "dev-3", "dev-2", "0.1.0", "dev-1"], keep=2) == ["dev-2", "dev-1"]


class TestWaiting:
    def test_says_what_it_waited_for_and_why(self) -> None:
        with pytest.raises(StartFailed, match=r"(?s)the webhook was to come: not within 0 s.*its last words"):
            waiting.until(lambda: False, "the webhook was to come", timeout=0.05, pause=0.01, explain=lambda: "its last words")

    def test_gives_up_as_soon_as_it_is_hopeless(self) -> None:
        with pytest.raises(StartFailed, match="it ended"):
            waiting.until(lambda: False, "the webhook was to come", timeout=60, give_up=lambda: True)


class TestKeys:
    def test_signed_by_ssh_keygen_and_verified_by_it(self, tmp_path: Path) -> None:
        key = people.new_key(tmp_path / "bob")
        with tempfile.TemporaryDirectory() as folder:
            signature = people.sign(key, "delete payments\n", "approve@kube-countersign.dev", Path(folder))
        (tmp_path / "signature").write_text(signature)
        (tmp_path / "allowed").write_text(f"bob {people.public_key(key)}\n")
        command: list[str | Path] = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            tmp_path / "allowed",
            "-I",
            "bob",
            "-n",
            "approve@kube-countersign.dev",
        ]
        answer = subprocess.run(
            [*command, "-s", tmp_path / "signature"], input="delete payments\n", text=True, capture_output=True, check=False
        )
        assert answer.returncode == 0, answer.stderr

    def test_a_key_that_is_there_is_kept(self, tmp_path: Path) -> None:
        first = people.public_key(people.new_key(tmp_path / "bob"))
        assert people.public_key(people.new_key(tmp_path / "bob")) == first

    def test_an_impossible_key_is_an_error_with_ssh_keygens_words(self, tmp_path: Path) -> None:
        with pytest.raises(HarnessError, match="ssh-keygen"):
            people.new_key(tmp_path / "bob", "rot13")

    def test_the_manifest_holds_the_key_without_its_comment(self, tmp_path: Path) -> None:
        key = people.new_key(tmp_path / "bob")
        manifest = people.reviewer("bob", ["bob@example.com"], {"laptop": key}, ["sre"])
        [listed] = manifest["spec"]["keys"]
        assert listed["name"] == "laptop"
        assert len(listed["publicKey"].split()) == 2
        assert manifest["spec"]["teams"] == ["sre"]
