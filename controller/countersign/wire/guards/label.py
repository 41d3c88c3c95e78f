"""Labelling, in the API server's own process (design: every request of an agent is labelled).

The ValidatingAdmissionPolicy only annotates the audit log: that is the proof. The MutatingAdmissionPolicy labels what agents write
and notes who created a namespace: hints for people, and what `ownWork` goes by. Neither may ever stand in anybody's way, so both
ignore their own failures.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from countersign.domain.marks import label_value
from countersign.domain.names import ANNOTATION_CREATED_BY, LABEL_AGENT
from countersign.domain.resources import AgentIdentity
from countersign.wire.cel import USERNAME, every, literal, literals, mapped, some
from countersign.wire.guards.objects import Guard, Json, Rule, Site, condition, constraints, mutation, operation, policy, text_map, variable
from countersign.wire.shards import Shard

NAME: Final = "countersign-label"


def label_policies(site: Site, shards: Sequence[Shard], identities: Iterable[AgentIdentity]) -> list[Guard]:
    """One policy for each shard: `countersign-label`, `countersign-label-1`, …"""
    known = {identity.meta.name: identity for identity in identities}
    guards: list[Guard] = []
    for index, shard in enumerate(shards):
        name = f"{NAME}-{index}" if index else NAME
        members = [known[identity] for identity in _members(shard)]
        guards += policy(site, name, _annotate(shard, members), actions=["Audit"])
        if site.mutating:
            guards += mutation(site, name, _mutate(shard, members))
    return guards


def _members(shard: Shard) -> list[str]:
    named = {identity for identities in shard.named.values() for identity in identities}
    return sorted(named | set(shard.conditions))


def _annotate(shard: Shard, members: Sequence[AgentIdentity]) -> Json:
    sponsors = {identity.meta.name: ", ".join(identity.sponsors) for identity in members}
    borrowed = [identity.meta.name for identity in members if identity.sponsor_from_username]
    sponsor = f"variables.sponsors[name] + (name in {literals(borrowed)} ? {USERNAME} : '')" if borrowed else "variables.sponsors[name]"
    return {
        "failurePolicy": "Ignore",
        "matchConstraints": constraints(Rule("*", ["*/*"], ["*"])),
        "matchConditions": [condition("an-agent", shard.matches)],
        "variables": [*_agents(shard), variable("sponsors", text_map(sponsors))],
        "auditAnnotations": [
            {"key": "agent", "valueExpression": 'variables.agents.join(", ")'},
            {"key": "sponsor", "valueExpression": f'variables.agents.map(name, {sponsor}).filter(text, text != "").join(", ")'},
        ],
    }


def _agents(shard: Shard) -> list[Json]:
    """Variable `agents`: the names of the identities that the requester is."""
    named = mapped({username: literals(identities) for username, identities in shard.named.items()})
    found = f"({USERNAME} in variables.named ? variables.named[{USERNAME}] : [])" if shard.named else "[]"
    parts = [variable("named", named)] if shard.named else []
    parts.append(variable("byName", found))
    if not shard.conditions:
        return [*parts, variable("agents", "variables.byName")]
    others = ", ".join(f'({matches}) ? {literal(name)} : ""' for name, matches in sorted(shard.conditions.items()))
    return [*parts, variable("agents", f'variables.byName + [{others}].filter(name, name != "" && !(name in variables.byName))')]


def _mutate(shard: Shard, members: Sequence[AgentIdentity]) -> Json:
    labels = {identity.meta.name: label_value(identity.meta.name) for identity in members}
    wanted = "variables.labels[variables.agents[0]]"
    return {
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            **constraints(Rule("*", ["*"], ["CREATE", "UPDATE"])),
            "excludeResourceRules": [Rule(group, ["*"], ["*"]).body() for group in ("authentication.k8s.io", "authorization.k8s.io")],
        },
        "matchConditions": [
            condition("an-agent", shard.matches),
            condition("an-object-with-metadata", "object != null && has(object.metadata)"),
        ],
        "variables": [*_agents(shard), variable("labels", text_map(labels)), variable("label", wanted)],
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": _set("labels", LABEL_AGENT, "variables.label")}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": _note_creator()}},
        ],
    }


def _set(member: str, key: str, value: str) -> str:
    """A JSON patch that sets one label or annotation, and is empty where it stands there already: no update becomes one by us."""
    path = f'"/metadata/{member}/" + jsonpatch.escapeKey({literal(key)})'
    here = f"has(object.metadata.{member})"
    return (
        f"!{here} ? [JSONPatch{{op: 'add', path: '/metadata/{member}', value: {{{literal(key)}: {value}}}}}] : "
        f"{literal(key)} in object.metadata.{member} && object.metadata.{member}[{literal(key)}] == {value} ? [] : "
        f"[JSONPatch{{op: 'add', path: {path}, value: {value}}}]"
    )


def _note_creator() -> str:
    created = every(operation("CREATE"), 'request.resource.group == "" && request.resource.resource == "namespaces"')
    return f"{some(created)} ? ({_set('annotations', ANNOTATION_CREATED_BY, USERNAME)}) : []"
