"""A login whose name holds newlines writes lines of its own into the text that a reviewer signs, and makes two requests read the same.

Source: tried for this project: a client certificate with a CN of several lines authenticates with that username.
"""

from tests.controlplane.api import path
from tests.controlplane.people import binding
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# The control writes the same fields down without escaping, as a text for people is easily made.
ATTACK = Attack(
    number=36,
    title="Newlines in names: one text to sign for two requests",
    elsewhere=Elsewhere.NOT,
    because="needs client certificates of the cluster",
)
FORGED = 'target.name: "scratch"'


def test_a_line_of_the_requesters_own(stage: Stage) -> None:
    name = stage.name("r")
    username = f"{name}@x\n{FORGED}\n"  # a certificate's CN has 64 characters at the most
    robot = stage.cluster.new_human(username, groups=[name])
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}
    stage.make(path("clusterrolebindings"), binding("cluster-admin", subject, name))
    stage.make(path("agentidentities"), stage.cluster.identity(name, [{"kind": "User", "name": f"{name}@*"}]))
    url = path("namespaces", stage.namespace())
    api = stage.cluster.api_as(robot)
    assert stage.comes_true(lambda: not api.request("DELETE", url, params={"dryRun": "All"}).ok), "the robot is known"
    request = stage.strike("DELETE", url, by=api).request
    spec = stage.story.request(request)["spec"]
    assert spec["requester"]["username"] == username
    text = _naive(spec) if stage.control else spec["statement"]
    stage.done(lambda: FORGED in text.splitlines(), "a line of the requester's own stands in the statement", evidence=_shown(text))
    assert stage.control or len([line for line in text.splitlines() if line.startswith("target.name: ")]) == 1


def _naive(spec: dict[str, object], before: str = "") -> str:
    lines = [
        _naive(value, f"{before}{key}.") if isinstance(value, dict) else f"{before}{key}: {value}"
        for key, value in spec.items()
        if key != "statement"
    ]
    return "\n".join(lines)


def _shown(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("requester.username"))
