"""The API server's admission, simulated for our own guards: which entries of a webhook configuration a request reaches, what policies say.

After k8s.io/apiserver webhook/predicates/rules/rules.go, webhook/matchconditions and plugin/policy. It differs from the real one: no
defaulting, no Equivalent conversion, no params, selectors by matchLabels and `In` alone. tests/e2e/test_guards.py runs the real one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from countersign.domain.document import JsonObject
from countersign.domain.names import ANNOTATION_CREATED_BY
from countersign.wire.guards import Guard
from tests.support.cel import CelError, Library, Patch, evaluate, evaluate_all


@dataclass(frozen=True)
class Ask:
    """One request. `resource` may hold a subresource after a slash; `home` are the labels of the namespace it lies in."""

    user: str
    operation: str
    resource: str
    object: JsonObject | None = None
    old: JsonObject | None = None
    group: str = ""
    namespace: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, list[str]] = field(default_factory=dict)
    home: Mapping[str, str] = field(default_factory=dict)
    creator: str = ""
    born: str = "2026-01-01T00:00:00Z"
    rights: frozenset[tuple[str, str, str]] = frozenset()
    params: Mapping[str, Iterable[JsonObject]] = field(default_factory=dict)

    def scope(self) -> dict[str, Any]:
        resource, _, sub = self.resource.partition("/")
        user: dict[str, Any] = {"username": self.user}
        user |= {"groups": list(self.groups)} if self.groups else {}
        user |= {"extra": dict(self.extra)} if self.extra else {}
        request: dict[str, Any] = {
            "operation": self.operation,
            "resource": {"group": self.group, "version": "v1", "resource": resource},
            "userInfo": user,
        }
        request |= {"subResource": sub} if sub else {}
        request |= {"namespace": self.namespace} if self.namespace else {}
        request |= {"name": self.name} if self.name else {}
        return {
            "request": request,
            "object": self.object,
            "oldObject": self.old,
            "namespaceObject": self._namespace(),
            "authorizer": Authorizer(self.rights),
        }

    def _namespace(self) -> JsonObject | None:
        if not self.namespace:
            return None
        annotations = {ANNOTATION_CREATED_BY: self.creator} if self.creator else {}
        names = {"name": self.namespace, "labels": dict(self.home), "annotations": annotations}
        return {"metadata": {**names, "creationTimestamp": self.born}}


@dataclass(frozen=True)
class Authorizer(Library):
    """What the CEL library `authz` offers about one account. `rights` are (group, resource/subresource, verb); "?" as a verb: it cannot say."""

    rights: frozenset[tuple[str, str, str]]
    asked: tuple[str, ...] = ()

    def serviceAccount(self, namespace: str, name: str) -> "Authorizer":  # noqa: N802  # CEL's own names from here on
        assert namespace
        assert name
        return replace(self, asked=())

    def group(self, name: str) -> "Authorizer":
        return replace(self, asked=(name,))

    def name(self, name: str) -> "Authorizer":
        assert name
        return self

    def resource(self, name: str) -> "Authorizer":
        return replace(self, asked=(*self.asked, name))

    def subresource(self, name: str) -> "Authorizer":
        return replace(self, asked=(self.asked[0], f"{self.asked[1]}/{name}"))

    def namespace(self, name: str) -> "Authorizer":
        assert name
        return self

    def check(self, verb: str) -> "Decision":
        group, resource = self.asked
        return Decision((group, resource, verb) in self.rights, (group, resource, "?") in self.rights)


@dataclass(frozen=True)
class Decision(Library):
    yes: bool
    error: bool

    def allowed(self) -> bool:
        return self.yes

    def errored(self) -> bool:
        return self.error


def reached(configuration: Guard, ask: Ask) -> list[str]:
    """The entries (their first word) that would be called; "ERROR name" where a condition errs, which refuses."""
    found = []
    for entry in configuration.body["webhooks"]:
        name = str(entry["name"]).partition(".")[0]
        if not _in_rules(entry["rules"], ask) or not _selects(entry["namespaceSelector"], ask):
            continue
        try:
            if all(_conditions(entry["matchConditions"], ask.scope())):
                found.append(name)
        except CelError as error:
            found.append(f"ERROR {name}: {error}")
    return found


def as_served(built: Iterable[Guard]) -> dict[str, Any]:
    """Our own webhook configuration as validation sees it: the API server leaves out lists that are empty."""
    [body] = [guard.body for guard in built if guard.kind == "ValidatingWebhookConfiguration"]
    hooks = [{key: value for key, value in hook.items() if value or key != "matchConditions"} for hook in body["webhooks"]]
    return {"metadata": {"name": "countersign", "ownerReferences": body["metadata"]["ownerReferences"]}, "webhooks": hooks}


def refusals(policies: Iterable[Guard], ask: Ask) -> list[str]:
    """The messages of the validations that refuse, "ERROR policy" for those that err under Fail."""
    found = []
    for guard in policies:
        if guard.kind != "ValidatingAdmissionPolicy" or not _matched(guard, ask):
            continue
        kind = guard.body["spec"].get("paramKind", {}).get("kind")
        for scope in [{"params": each} for each in ask.params.get(kind, [])] if kind else [{}]:
            found += _refused(guard, {**ask.scope(), **scope})
    return found


def _refused(guard: Guard, scope: Mapping[str, Any]) -> list[str]:
    """What one policy says, once for each of its parameters; a condition that errs is an AssertionError: nothing of ours may."""
    spec = guard.body["spec"]
    try:
        if not all(_conditions(spec.get("matchConditions", []), scope)):
            return []
    except CelError as error:
        raise AssertionError(f"{guard.name}: {error}") from error
    found = []
    for validation in spec.get("validations", []):
        try:
            if not evaluate_all(spec.get("variables", []), validation["expression"], **scope):
                found.append(str(validation["message"]))
        except CelError as error:
            if spec["failurePolicy"] == "Fail":
                found.append(f"ERROR {guard.name}: {error}")
    return found


def annotations(policies: Iterable[Guard], ask: Ask) -> dict[str, str]:
    """What the policies put into the audit log."""
    found: dict[str, str] = {}
    for guard in policies:
        if guard.kind == "ValidatingAdmissionPolicy" and _concerns(guard, ask):
            for entry in guard.body["spec"].get("auditAnnotations", []):
                value = evaluate_all(guard.body["spec"].get("variables", []), entry["valueExpression"], **ask.scope())
                if value:
                    found[entry["key"]] = value
    return found


def patches(policies: Iterable[Guard], ask: Ask) -> list[Mapping[str, Any]]:
    """The JSON patches of the mutating policies, as they are made from the object that was sent."""
    found: list[Mapping[str, Any]] = []
    for guard in policies:
        if guard.kind == "MutatingAdmissionPolicy" and _concerns(guard, ask):
            for mutation in guard.body["spec"]["mutations"]:
                made = evaluate_all(guard.body["spec"]["variables"], mutation["jsonPatch"]["expression"], **ask.scope())
                assert all(isinstance(patch, Patch) for patch in made)
                found += [patch.fields for patch in made]
    return found


def _matched(guard: Guard, ask: Ask) -> bool:
    """By rules and selectors."""
    constraints = guard.body["spec"]["matchConstraints"]
    if not _in_rules(constraints["resourceRules"], ask) or _in_rules(constraints.get("excludeResourceRules", []), ask):
        return False
    if not _selects(constraints["namespaceSelector"], ask):
        return False
    labels = (ask.object or {}).get("metadata", {}).get("labels", {})
    return all(term["operator"] == "Exists" and term["key"] in labels for term in constraints["objectSelector"].get("matchExpressions", []))


def _concerns(guard: Guard, ask: Ask) -> bool:
    """Raises AssertionError for a policy whose conditions err: nothing of ours may."""
    try:
        return _matched(guard, ask) and all(_conditions(guard.body["spec"].get("matchConditions", []), ask.scope()))
    except CelError as error:
        raise AssertionError(f"{guard.name}: {error}") from error


def _conditions(conditions: Iterable[Mapping[str, str]], scope: Mapping[str, Any]) -> list[bool]:
    """Any false one decides, even where another errs (matchconditions/matcher.go)."""
    results: list[bool] = []
    errors: list[CelError] = []
    for condition in conditions:
        try:
            results.append(evaluate(condition["expression"], **scope))
        except CelError as error:
            errors.append(error)
    if errors and all(results):
        raise errors[0]
    return results


def _in_rules(rules: Iterable[Mapping[str, Any]], ask: Ask) -> bool:
    # A Namespace counts as an object of the cluster (rules.go).
    scope = "Namespaced" if ask.namespace and ask.resource.partition("/")[0] != "namespaces" else "Cluster"
    return any(
        rule["scope"] in ("*", scope)
        and any(group in ("*", ask.group) for group in rule["apiGroups"])
        and any(operation in ("*", ask.operation) for operation in rule["operations"])
        and any(_names(resource, ask.resource) for resource in rule["resources"])
        for rule in rules
    )


def _names(pattern: str, resource: str) -> bool:
    wanted, _, wanted_sub = pattern.partition("/")
    name, _, sub = resource.partition("/")
    if pattern == "*/*":
        return True
    return wanted in ("*", name) and wanted_sub in ("*", sub)


def _selects(selector: Mapping[str, Any], ask: Ask) -> bool:
    """Objects of the cluster are never left out, but Namespaces by their own labels (webhook/predicates/namespace/matcher.go)."""
    labels = ask.home
    if ask.resource.partition("/")[0] == "namespaces":
        tree: Any = ask.object if ask.operation in ("CREATE", "UPDATE") else ask.old
        labels = tree["metadata"].get("labels", {}) if tree else {}
    elif not ask.namespace:
        return True
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        requirement["operator"] == "In" and labels.get(requirement["key"]) in requirement["values"]
        for requirement in selector.get("matchExpressions", [])
    )
