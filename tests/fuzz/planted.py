"""`python -m tests.fuzz.planted`: whether the random lives find faults. Each is put into a copy of the core, and must be found.

A fault that no longer fits the code fails here: then write it anew.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIVES, SECONDS = 3000, 1800
"""A fault is missed after so many lives; the seconds are for a machine that does not get there."""


@dataclass(frozen=True)
class Planted:
    what: str
    file: str
    old: str
    new: str


APPROVAL, SIGNING, DECIDE, STATEMENT = "domain/approval.py", "domain/signing.py", "domain/decide.py", "domain/statement.py"
FAULTS = (
    Planted(
        "what was signed for passes in a lockdown",
        DECIDE,
        "if enforcing and isinstance(facts.who, Agent) and lockdown_in(facts.snapshot):",
        "if False:",
    ),
    Planted(
        "broken glass lets agents through", DECIDE, "    if isinstance(facts.who, Human) and glass_is_broken(", "    if glass_is_broken("
    ),
    Planted("broken glass stays broken", "domain/emergency.py", "glass.since <= now < glass.since + GLASS_LASTS", "glass.since <= now"),
    Planted("whoever may except may lift", "domain/register.py", "            if weakening.LIFTS in weaker:\n", "            if False:\n"),
    Planted("a rejection ends nothing", APPROVAL, "    if result.rejection is not None:", "    if False:"),
    Planted(
        "signatures made for another purpose count",
        SIGNING,
        "verify(signature, statement, namespace)",
        "verify(signature, statement, signature.namespace)",
    ),
    Planted("expired keys count", SIGNING, "key.not_after is not None and now >= key.not_after", "False"),
    Planted("sponsors sign", SIGNING, "if {name, *reviewer.usernames} & barred_people:", "if False:"),
    Planted("only the sponsors of the beginning are barred", APPROVAL, " | sponsors_now(request, snapshot) | _barred_by(who)", ""),
    Planted("anybody's key will do", SIGNING, "if public is not None and public.blob == signed_by.blob:", "if public is not None:"),
    Planted(
        "the signature itself is not looked at",
        SIGNING,
        "        verify(signature, statement, namespace)",
        "        pass",
    ),
    Planted(
        "a shared account needs no more than others",
        APPROVAL,
        "    if isinstance(person, Human) and not person.reviewer:\n        return 1",
        "    if who is not None:\n        return 0",
    ),
    Planted("teams are not asked for", APPROVAL, "    return not teams or (person", "    return True or (person"),
    Planted("approvals can be used for ever", APPROVAL, "    if now >= result.usable_until:", "    if False:"),
    Planted(
        "more may be lost than was signed for", APPROVAL, "    if losses is not None and losses.exceed(request.losses):", "    if False:"
    ),
    Planted(
        "the UID is not in the act",
        STATEMENT,
        "namespace, name, uid, old, new, requester_key])",
        "namespace, name, old, new, requester_key])",
    ),
    Planted("the requester is not in the act", STATEMENT, "uid, old, new, requester_key])", "uid, old, new])"),
    Planted("a cascade added later passes", STATEMENT, '        "ownerReferences": metadata.get("ownerReferences"),\n', ""),
    Planted(
        "an old round serves for the new one",
        DECIDE,
        "    return max(snapshot.rounds.get(digest, ())",
        "    return min(snapshot.rounds.get(digest, ())",
    ),
    Planted(
        "what covers is not held against every environment",
        DECIDE,
        "environments=environments, who=facts.who, losses=facts.losses)\n"
        "    return (request, state) if state.phase is Phase.USABLE and _holds_all(state, environments) else None",
        "who=facts.who, losses=facts.losses)\n    return (request, state) if state.phase is Phase.USABLE else None",
    ),
    Planted(
        "one environment in Audit lets all through", DECIDE, "    if not enforced:  # 6", "    if len(enforced) < len(remaining):  # 6"
    ),
    Planted(
        "agents may change settings",
        DECIDE,
        "    if isinstance(facts.change, Setting) and isinstance(facts.who, Agent) and facts.who.guise is None:  # 1",
        "    if False:  # 1",
    ),
    Planted(
        "agents can be excepted",
        "domain/protect.py",
        "        case Agent():\n            return False\n        case Human() | Machine():\n            return any(matches",
        "        case Agent() | Human() | Machine():\n            return any(matches",
    ),
    Planted(
        "own work, whoever made it",
        "domain/protect.py",
        "        and annotations.get(ANNOTATION_CREATED_BY) == user.username\n",
        "",
    ),
    Planted(
        "registration never closes",
        "domain/protect.py",
        "    if default is None or default.registration is Registration.CLOSED:\n        return True\n    return any(",
        "    return False and any(",
    ),
    Planted(
        "leaving an environment by a label is free",
        "domain/protect.py",
        "if e.covers(name, relabelling.before) and not e.covers(name, relabelling.after))",
        "if False)",
    ),
    Planted("more exclusions weaken nothing", "domain/weakening.py", "_adds(old.exclude, new.exclude)", "False"),
    Planted(
        "allowed from memory",
        "service/review.py",
        "judged = self._judge.judge(request, judged.facts.change, look.snapshot, now, losses_seen(look, asked))",
        "judged = self._judge.judge(request, judged.facts.change, judged.facts.snapshot, now, losses_seen(look, asked))",
    ),
    Planted(
        "an error inside a decision",
        "service/judging.py",
        "        who = snapshot.directory.identify(request.user)\n",
        "        who = snapshot.directory.identify(request.user)\n        assert len(snapshot.reviewers) > 2\n",
    ),
)


def hunt(fault: Planted) -> tuple[bool, float, int]:
    """Whether it was found, after how many seconds and decisions."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "countersign"
        shutil.copytree(ROOT / "controller" / "countersign", package)
        file = package / fault.file
        text = file.read_text()
        if text.count(fault.old) != 1:
            raise SystemExit(
                f"{fault.what}: {fault.file} holds its place {text.count(fault.old)} times; write it anew in tests/fuzz/planted.py"
            )
        file.write_text(text.replace(fault.old, fault.new))
        begun = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.decision", str(SECONDS), "--quick", "--most", str(LIVES)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - begun
    if answer.returncode not in (0, 1) or not answer.stdout:
        raise SystemExit(f"{fault.what}: the run itself failed:\n{answer.stderr}")
    told = json.loads(answer.stdout.splitlines()[-1])
    return answer.returncode == 1, took, int(told["executions"])


def main() -> int:
    wanted = [fault for fault in FAULTS if not sys.argv[1:] or any(word in fault.what for word in sys.argv[1:])]
    missed = []
    for fault in wanted:
        found, took, decisions = hunt(fault)
        print(f"  {'found ' if found else 'MISSED'} {took:6.1f} s {decisions:7} decisions  {fault.what}", flush=True)
        if not found:
            missed.append(fault.what)
    print(f"{len(wanted) - len(missed)} of {len(wanted)} planted faults found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
