"""The story that the demo plays: refused, signed, let through. Every step asserts what it shows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.controlplane import jsonlines
from tests.controlplane.cluster import APPROVE, Cluster
from tests.demo.person import Person, Ran
from tests.demo.reading import change_request_in, missing_from_refusal, short
from tests.demo.stage import Stage, Surprise, expect

NAMESPACE = "payments"
MANIFEST = Path(__file__).with_name("payments.yaml")
KIND = "changerequests.kube-countersign.dev"
CLAIMS, BALANCERS = 3, 1
COMMENT = "moved to payments-v2, data migrated"


@dataclass(slots=True)
class Story:
    stage: Stage
    cluster: Cluster
    folder: Path
    alice: Person = field(init=False)
    bob: Person = field(init=False)
    kiro: Person = field(init=False)
    uid: str = ""
    request: str = ""

    def __post_init__(self) -> None:
        self.alice, self.bob, self.kiro = (Person.at(self.cluster.paths, name, self.folder / name) for name in ("alice", "bob", "kiro"))

    def play(self) -> int:
        """Plays all steps and returns how many there were.

        Raises:
            Surprise: the step, and what differed
        """
        self._clear()
        steps: list[tuple[str, Callable[[], None]]] = [
            ("An environment with customers on it", self.build),
            ("An agent with broad rights", self.work),
            ("The agent decides to delete and recreate it", self.refuse),
            ("What would be lost", self.look),
            ("The human who runs the agent cannot sign for it", self.refuse_sponsor),
            ("A second human signs", self.sign),
            ("The agent sends the same request again", self.delete),
            ("The same name is not the same environment", self.protect_again),
            ("The account of it", self.account),
        ]
        for number, (title, step) in enumerate(steps, 1):
            self.stage.title(number, len(steps), title)
            try:
                step()
            except Surprise as surprise:
                raise Surprise(f"In step {number}, “{title}”: {surprise}") from surprise
        return len(steps)

    def build(self) -> None:
        self.stage.say(
            "Alice runs the payments environment: an API, a ledger that keeps its data on volumes, "
            "and a load balancer with the address that customers use."
        )
        shutil.copyfile(MANIFEST, self.alice.folder / MANIFEST.name)
        self._ok(self.alice, f"kubectl create namespace {NAMESPACE}")
        self._ok(self.alice, f"kubectl apply -f {MANIFEST.name}")
        last = f"data-ledger-{CLAIMS - 1}"
        self._ok(self.alice, f"kubectl wait --for=create persistentvolumeclaim/{last} -n {NAMESPACE} --timeout=60s")
        listed = self._ok(self.alice, f"kubectl get deployments,statefulsets,persistentvolumeclaims,services -n {NAMESPACE}")
        claims = listed.text.count("persistentvolumeclaim/")
        expect(claims == CLAIMS, f"{CLAIMS} claims were to be there, there are {claims}")
        self.uid = self._value(f"namespace {NAMESPACE}", "{.metadata.uid}")

    def work(self) -> None:
        self.stage.say(
            "Kiro is an AI agent that Alice runs. It has a ServiceAccount with nearly all rights, as agents tend to. "
            "Its ordinary work goes on as before: such requests do not even reach Countersign's webhook."
        )
        can = self._ok(self.kiro, "kubectl auth can-i delete namespaces --all-namespaces")
        expect(can.text.strip().endswith("yes"), "RBAC was to allow the agent to delete namespaces; else this would prove nothing")
        self._ok(self.kiro, f"kubectl scale deployment api -n {NAMESPACE} --replicas=5")

    def refuse(self) -> None:
        self.stage.say("Asked to fix something, Kiro concludes that the quickest way is to delete the environment and build it anew.")
        ran = self._fails(self.kiro, f"kubectl delete namespace {NAMESPACE}")
        expect("Forbidden" in ran.text, f"the refusal was to be an HTTP 403; kubectl said:\n{ran.text}")
        faults = missing_from_refusal(ran.text)
        expect(not faults, f"the refusal is not the one that was promised: {'; '.join(faults)}")
        self.request = change_request_in(ran.text)
        self._still_there()
        self.stage.say(
            "RBAC said yes, Countersign said no. The agent got facts and a name to hand on, and nothing that an eager agent should not run. "
            "The namespace is as it was."
        )

    def look(self) -> None:
        self.stage.say("The refusal has left a change request. Bob, who may sign, reads what it is about.")
        listed = self._ok(self.bob, f"kubectl get {KIND}")
        expect(self.request in listed.text, f"{self.request} is not in the list")
        text = self._ok(self.bob, self._save_statement()).text
        for line in (
            f'target.uid: "{self.uid}"',
            f"losses.volumes: {CLAIMS}",
            f"losses.loadBalancers: {BALANCERS}",
            'requester.agents[0]: "kiro"',
            'requester.sponsors[0]: "alice"',
        ):
            expect(line in text, f"the statement does not say {line}")
        self.stage.say(
            f"That is the text that a signature stands for: this cluster, this namespace by its UID, {CLAIMS} volumes and "
            f"{BALANCERS} load balancer lost for good, who asked and for whom. Its status adds what could be rebuilt, and who can sign."
        )
        self._wait_for("{.status.impact.pods}", lambda pods: pods not in ("", "0"), "its status was to count the pods")
        self._wait_for_event()
        shown = self._ok(self.bob, f"kubectl describe {KIND} {self.request} | sed -n '/^Status:/,$p'")
        expect("bob" in shown.text and "alice" not in _eligible(shown.text), "bob was to be eligible, and alice not")

    def refuse_sponsor(self) -> None:
        self.stage.say("Alice is in a hurry. She is a cluster-admin and has a registered key, but Kiro is hers: she is the first human.")
        self._ok(self.alice, self._save_statement(">"))
        self._ok(self.alice, self._sign_statement())
        self._ok(self.alice, self._write_approval("alice"))
        ran = self._fails(self.alice, "kubectl create -f approval.yaml")
        expect("alice is a sponsor of the agent" in ran.text, f"the refusal was to say that alice is the sponsor; it said:\n{ran.text}")
        again = self._fails(self.kiro, f"kubectl delete namespace {NAMESPACE}")
        expect(change_request_in(again.text) == self.request, "the same request was to be answered by the same change request")

    def sign(self) -> None:
        self.stage.say("Bob has read the statement, and asked Alice about it. He signs with the SSH key that he has, and plain kubectl.")
        self._ok(self.bob, self._sign_statement())
        self._ok(self.bob, self._write_approval("bob"))
        self._ok(self.bob, "kubectl create -f approval.yaml")
        ran = self._ok(self.bob, f"kubectl wait --for=condition=Approved {KIND}/{self.request} --timeout=60s")
        expect("condition met" in ran.text, "kubectl wait was to see the condition Approved")

    def delete(self) -> None:
        state = self._ok(self.kiro, f"kubectl get {KIND} {self.request} -o jsonpath='{{.status.outcome}}'")
        expect(state.text.strip() == "Approved", f"the outcome was to be Approved, it is {state.text.strip()}")
        self._ok(self.kiro, f"kubectl delete namespace {NAMESPACE}", timeout=180)
        gone = self.cluster.kubectl("admin", "get", "namespace", NAMESPACE)
        expect(
            gone.returncode != 0 and "NotFound" in gone.stderr, f"the namespace was to be gone; kubectl says: {gone.stdout}{gone.stderr}"
        )
        self._ok(self.bob, f"kubectl wait --for=jsonpath='{{.status.outcome}}'=Executed {KIND}/{self.request} --timeout=60s")
        self.stage.say("Two humans agreed, and one of them knew the cost: gone, once, within the window. The signature is used up by that.")

    def protect_again(self) -> None:
        self.stage.say("Alice makes payments again. An approval is for one object, by its UID: the old one opens nothing here.")
        self._ok(self.alice, f"kubectl create namespace {NAMESPACE}")
        ran = self._fails(self.kiro, f"kubectl delete namespace {NAMESPACE}")
        expect(change_request_in(ran.text) != self.request, "another namespace was to get another change request")
        self._still_there()

    def account(self) -> None:
        self.stage.say("Every decision was recorded before it was answered. Here is the log of this story, one decision a line:")
        self.cluster.collect_logs()
        shutil.copyfile(self.cluster.paths.decisions_log, self.alice.folder / "decisions.jsonl")
        written = jsonlines.read(self.alice.folder / "decisions.jsonl")
        # Several replicas each keep a log of their own.
        records = sorted(filter(self._is_of_this_story, written), key=lambda record: str(record["time"]))
        self.stage.plain("")
        for record in records:
            self.stage.plain(f"  {short(record)}")
        story = [(record["decision"], record["reason"]) for record in records]
        for step in (("Refuse", "Pending"), ("Refuse", "Invalid"), ("Allow", "Accepted"), ("Allow", "Approved")):
            expect(step in story, f"the decision {' '.join(step)} was to be in the log")
        self.stage.say(
            "Each line carries the hash of the one before. So it can be verified; and if a single byte is changed afterwards, here bob into rob, that is found:"
        )
        self._ok(self.alice, "python -m countersign log verify decisions.jsonl")
        self._ok(self.alice, """sed '0,/"reviewers":\\["bob"\\]/s//"reviewers":["rob"]/' decisions.jsonl > forged.jsonl""")
        changed = self._fails(self.alice, "cmp -l decisions.jsonl forged.jsonl")
        expect(changed.text.count("\n") == 1, "exactly one byte was to be changed")
        ran = self._fails(self.alice, "python -m countersign log verify forged.jsonl")
        expect("was changed" in ran.text, f"the verifier was to name the changed line; it said:\n{ran.text}")

    # --- pieces -------------------------------------------------------------------------------

    def _save_statement(self, into: str = "| tee") -> str:
        return f"kubectl get {KIND} {self.request} -o jsonpath='{{.spec.statement}}' {into} {self.request}.txt"

    def _sign_statement(self) -> str:
        return f"ssh-keygen -Y sign -n {APPROVE} -f ~/.ssh/id_ed25519 {self.request}.txt"

    def _write_approval(self, reviewer: str) -> str:
        return f"""\
cat > approval.yaml <<END
apiVersion: kube-countersign.dev/v1alpha1
kind: Approval
metadata: {{name: {self.request}-{reviewer}}}
spec:
  changeRequest: {self.request}
  reviewer: {reviewer}
  decision: Approve
  comment: "{COMMENT}"
  signature: |
$(sed 's/^/    /' {self.request}.txt.sig)
END"""

    def _ok(self, person: Person, command: str, *, timeout: float = 120) -> Ran:
        ran = self.stage.types(person, command, timeout=timeout)
        expect(ran.code == 0, f"{person.name}'s command was to succeed, and ended with exit code {ran.code}:\n  {command}")
        return ran

    def _fails(self, person: Person, command: str) -> Ran:
        ran = self.stage.types(person, command)
        expect(ran.code != 0, f"{person.name}'s command was to fail, and succeeded:\n  {command}")
        return ran

    def _value(self, what: str, jsonpath: str) -> str:
        return self.cluster.kubectl("admin", "get", *what.split(), "-o", f"jsonpath={jsonpath}").stdout.strip()

    def _still_there(self) -> None:
        state = self._value(f"namespace {NAMESPACE}", "{.status.phase}")
        expect(state == "Active", f"the namespace was to be as before, and is {state or 'gone'}")

    def _wait_for(self, jsonpath: str, reached: Callable[[str], bool], sentence: str) -> None:
        """The operator's status comes a moment after the webhook's refusal."""
        deadline = time.monotonic() + 30
        while not reached(value := self._value(f"{KIND} {self.request}", jsonpath)):
            expect(time.monotonic() < deadline, f"{sentence}, and after 30 s it says {value!r}")
            time.sleep(0.2)

    def _wait_for_event(self) -> None:
        deadline = time.monotonic() + 30
        by_name = ("--field-selector", f"involvedObject.name={self.request}")
        while not self.cluster.kubectl("admin", "get", "events", "--all-namespaces", *by_name, "-o", "name").stdout.strip():
            expect(time.monotonic() < deadline, "an Event was to tell of the change request within 30 s")
            time.sleep(0.2)

    def _is_of_this_story(self, record: dict[str, object]) -> bool:
        target = record.get("target")
        name = str(target.get("name", "")) if isinstance(target, dict) else ""
        return name == NAMESPACE or name.startswith(f"delete-namespace-{NAMESPACE}-")

    def _clear(self) -> None:
        """What an earlier demo left in a cluster that was kept."""
        self.cluster.kubectl("admin", "delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)


def _eligible(description: str) -> str:
    """The part of `kubectl describe` that lists who can sign."""
    return description.partition("Eligible Reviewers:")[2].partition(":")[0]
