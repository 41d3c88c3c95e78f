"""SubjectAccessReview v1 ⇄ domain: what the API server asks an authorizer, and the same rule in CEL so that it asks about nothing else.

As in wire/admission.py identity fields have no defaults. What cannot be read is no denial but an error: the API server then does what its
`failurePolicy` says (Deny), for those requests alone that our match conditions let through to us.
"""

from typing import Annotated, Final

import msgspec

from countersign.domain.authorize import (
    CERTIFICATES_GROUP,
    CONFIGURATION_GROUPS,
    IMPERSONATE,
    KUBELET,
    RBAC_GROUP,
    RBAC_VERBS,
    READS,
    SIGNER_VERBS,
    SYSTEM_NAMESPACE,
    UNSAFE_DELETE,
    Access,
    Deny,
    NoOpinion,
    Opinion,
    PathAccess,
    ResourceAccess,
)
from countersign.domain.request import UserInfo
from countersign.wire.admission import ReviewRefused
from countersign.wire.cel import every, literal, literals, negated, some
from countersign.wire.lazydocument import check_text

MAX_ACCESS_BYTES: Final = 2 * 1024 * 1024
"""All of it comes from a request's head and from credentials: the API server takes heads of 1 MiB (net/http), JSON may double that."""

API_VERSION: Final = "authorization.k8s.io/v1"
KIND: Final = "SubjectAccessReview"

_NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class _Requirement(msgspec.Struct, frozen=True, gc=False):
    key: str
    operator: str
    values: list[str] | None = None


class _Selector(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    requirements: list[_Requirement] | None = None


class _Resource(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is empty is left out by the API server (`omitempty`): the core group, no name, all namespaces."""

    verb: _NonEmpty
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    label_selector: _Selector | None = None


class _Path(msgspec.Struct, frozen=True, gc=False):
    verb: _NonEmpty
    path: str = ""


class _Spec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    user: _NonEmpty
    groups: list[str] | None = None
    uid: str | None = None
    extra: dict[str, list[str] | None] | None = None
    resource_attributes: _Resource | None = None
    non_resource_attributes: _Path | None = None


class _Review(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    api_version: str
    kind: str
    spec: _Spec


_REVIEW: Final = msgspec.json.Decoder(_Review)


def decode(body: bytes) -> tuple[UserInfo, Access]:
    """Who asks, and for what. Raises ReviewRefused with a sentence that names the field."""
    try:
        check_text(body)
        review = _REVIEW.decode(body)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ReviewRefused(f"This is no {API_VERSION} {KIND} that can be answered: {what}. Nothing is allowed by this.") from error
    if review.api_version != API_VERSION or review.kind != KIND:
        got = f"{review.api_version[:64]!a} {review.kind[:64]!a}"
        raise ReviewRefused(f"Only {API_VERSION} {KIND} is answered here, and this is {got}: set subjectAccessReviewVersion to v1.")
    spec = review.spec
    user = UserInfo(
        username=spec.user,
        uid=spec.uid or "",
        groups=frozenset(spec.groups or ()),
        extra={key: tuple(values or ()) for key, values in (spec.extra or {}).items()},
    )
    return user, _access(spec)


def _access(spec: _Spec) -> Access:
    resource, path = spec.resource_attributes, spec.non_resource_attributes
    if resource is not None and path is None:
        return ResourceAccess(
            verb=resource.verb,
            group=resource.group,
            version=resource.version,
            resource=resource.resource,
            subresource=resource.subresource,
            namespace=resource.namespace,
            name=resource.name,
            labels=_labels(resource.label_selector),
        )
    if path is not None and resource is None:
        return PathAccess(path.verb, path.path)
    raise ReviewRefused(
        f"This {KIND} cannot be answered: it holds one of spec.resourceAttributes and spec.nonResourceAttributes, not both."
    )


def _labels(selector: _Selector | None) -> dict[str, tuple[str, ...]]:
    """Requirements are joined by "and": each can only narrow what the others let through, so the first `In` of a key is safe to go by."""
    found: dict[str, tuple[str, ...]] = {}
    for requirement in (selector.requirements or ()) if selector is not None else ():
        if requirement.operator == "In" and requirement.values:
            found.setdefault(requirement.key, tuple(requirement.values))
    return found


class _Status(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    allowed: bool | None = None  # written in any case: the field is required
    denied: bool = False
    reason: str = ""


class _Answered(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    status: _Status
    api_version: str = API_VERSION
    kind: str = KIND


_ENCODER: Final = msgspec.json.Encoder()
_NO_OPINION: Final = _ENCODER.encode(_Answered(_Status(allowed=False)))


def encode(opinion: Opinion) -> bytes:
    """The SubjectAccessReview that carries an opinion. There is no way to write an allow."""
    match opinion:
        case Deny(sentence=sentence):
            return _ENCODER.encode(_Answered(_Status(allowed=False, denied=True, reason=sentence)))
        case NoOpinion():
            return _NO_OPINION


def is_asked_about(our_namespace: str) -> str:
    """CEL: whether a denial is possible at all, whoever asks. Asked of every request of the cluster, so what is most often false stands first."""
    verb, group, resource, subresource, namespace = (
        f"request.resourceAttributes.{name}" for name in ("verb", "group", "resource", "subresource", "namespace")
    )
    protected = f"{namespace} in {literals((our_namespace, SYSTEM_NAMESPACE))}"
    anywhere = f"{namespace} in {literals(('', our_namespace, SYSTEM_NAMESPACE))}"
    core = some(
        every(f"{resource} == {literal('secrets')}", f"{verb} != {literal('create')}", anywhere),
        every(f"{resource} == {literal('nodes')}", f"{subresource} in {literals(KUBELET)}"),
        every(f"{resource} == {literal('serviceaccounts')}", f"{subresource} == {literal('token')}", protected),
    )
    return every(
        "has(request.resourceAttributes)",
        some(
            every(f"{group} == {literal('')}", core),
            f"{verb}.startsWith({literal(IMPERSONATE)})",
            every(f"{group} in {literals(CONFIGURATION_GROUPS)}", negated(f"{verb} in {literals(sorted(READS))}")),
            f"{verb} == {literal(UNSAFE_DELETE)}",
            every(f"{group} == {literal(RBAC_GROUP)}", f"{verb} in {literals(RBAC_VERBS)}"),
            every(f"{group} == {literal(CERTIFICATES_GROUP)}", f"{verb} in {literals(SIGNER_VERBS)}"),
        ),
    )
