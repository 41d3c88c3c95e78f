"""AdmissionReview v1 ⇄ domain: the bytes that the API server sends, and those that it gets back (admission.k8s.io/v1).

Identity fields have no defaults: a review without a username is refused, never read as an empty user.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Final

import msgspec

from countersign.domain.answer import Answer
from countersign.domain.document import JsonObject, text
from countersign.domain.errors import CountersignError
from countersign.domain.names import API_VERSION as OUR_API_VERSION
from countersign.domain.names import GROUP, VERSION
from countersign.domain.request import Operation, Request, UserInfo
from countersign.wire.lazydocument import LazyDocument, check_text, decode_whole, is_object

MAX_REVIEW_BYTES: Final = 7 * 1024 * 1024
"""Two objects at the API server's limit of 3 MB for a request, and 1 MB for what surrounds them; as controller-runtime."""

# What the API server does with warnings (apiserver pkg/endpoints/filters/warning.go): past 4096 runes in all it cuts each to 256.
MAX_WARNING: Final = 256
MAX_WARNINGS: Final = 4096

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"


class ReviewRefused(CountersignError):
    """What was posted is not a review that we can answer; `status` is the HTTP status (4xx)."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


# Longer than anything that an API server sends, short enough to be written down: whoever forges a review could else fill the decision log.
_NonEmpty = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Uid = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_ABSENT: Final = msgspec.Raw(b"null")


class _User(msgspec.Struct, frozen=True, gc=False):
    username: _NonEmpty
    uid: str | None = None
    groups: list[str] | None = None
    extra: dict[str, list[str] | None] | None = None


class _Resource(msgspec.Struct, frozen=True, gc=False):
    group: _Text
    version: _NonEmpty
    resource: _NonEmpty


class _Request(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`resource` is the one that the rule was registered for; `requestResource` (matchPolicy Equivalent) is none of our business."""

    uid: _Uid
    resource: _Resource
    operation: Operation
    user_info: _User
    sub_resource: _Text | None = None
    name: _Text | None = None
    namespace: _Text | None = None
    object: msgspec.Raw = _ABSENT
    old_object: msgspec.Raw = _ABSENT
    dry_run: bool | None = None


class _Review(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    api_version: str
    kind: str
    request: _Request


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """What tells a review from anything else, for the sentence that says what it was instead."""

    api_version: str = ""
    kind: str = ""


_REVIEW: Final = msgspec.json.Decoder(_Review)
_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


def decode(body: bytes) -> Request:
    """Read one AdmissionReview. Raises ReviewRefused with a sentence that names the field and the remedy."""
    try:
        check_text(body)
        review = _REVIEW.decode(body)
    except (ValueError, RecursionError) as error:
        raise _unreadable(body, error) from error
    if review.api_version != API_VERSION or review.kind != KIND:
        raise _other_version(review.api_version, review.kind)
    request, user = review.request, review.request.user_info
    ours = request.resource.group == GROUP
    return Request(
        uid=request.uid,
        operation=request.operation,
        group=request.resource.group,
        version=VERSION if ours else request.resource.version,
        resource=request.resource.resource,
        subresource=request.sub_resource or "",
        namespace=request.namespace or "",
        name=request.name or "",
        user=UserInfo(
            username=user.username,
            uid=user.uid or "",
            groups=frozenset(user.groups or ()),
            extra={key: tuple(values or ()) for key, values in (user.extra or {}).items()},
        ),
        object=_object(request.object, "object", ours=ours),
        old_object=_object(request.old_object, "oldObject", ours=ours),
        dry_run=request.dry_run or False,
    )


def _object(raw: msgspec.Raw, field: str, *, ours: bool) -> JsonObject | None:
    """Objects of our own kinds are read at once (schemas are held against a dict); others as their members are asked for.

    All versions of our kinds have one schema (docs/decisions/0008-crd-versions.md): whichever the client speaks, it is read as ours.
    """
    if not is_object(raw):
        if bytes(raw) == b"null":
            return None
        raise ReviewRefused(f"This AdmissionReview cannot be answered: request.{field} is not an object.")
    try:
        if not ours:
            return LazyDocument(raw)
        document: JsonObject = decode_whole(raw)
    except ValueError as error:
        raise ReviewRefused(f"This AdmissionReview cannot be answered: request.{field}: {error}.") from error
    if text(document, "apiVersion").partition("/")[0] == GROUP:
        return {**document, "apiVersion": OUR_API_VERSION}
    return document


def _unreadable(body: bytes, error: Exception) -> ReviewRefused:
    try:
        envelope = _ENVELOPE.decode(body)
    except (ValueError, RecursionError):
        return ReviewRefused(
            "The body is not JSON that holds one object: this address answers AdmissionReviews of a Kubernetes API server."
        )
    if envelope.api_version != API_VERSION or envelope.kind != KIND:
        return _other_version(envelope.api_version, envelope.kind)
    what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return ReviewRefused(f"This AdmissionReview cannot be answered: {what}. Nothing that it asks about is allowed by this.")


def _other_version(api_version: str, kind: str) -> ReviewRefused:
    got = f"{api_version[:64]!a} {kind[:64]!a}" if api_version or kind else "an object without apiVersion and kind"
    return ReviewRefused(
        f"Only {API_VERSION} {KIND} is answered here, and this is {got}: "
        f'set admissionReviewVersions to ["v1"] in the webhook configuration that names this address.'
    )


# --- the way back


class _Cause(msgspec.Struct, frozen=True, gc=False):
    reason: str
    message: str


class _Details(msgspec.Struct, frozen=True, gc=False):
    causes: list[_Cause]


class _Status(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    code: int
    reason: str
    message: str
    status: str
    details: _Details | None = None


class _Response(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    uid: str
    allowed: bool
    status: _Status | None = None
    warnings: list[str] | None = None
    audit_annotations: dict[str, str] | None = None


class _Answered(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    response: _Response
    api_version: str = API_VERSION
    kind: str = KIND


_ENCODER: Final = msgspec.json.Encoder()
_AUDIT_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

# metav1.StatusReason by code: what clients (kubectl, client libraries) switch on.
_REASONS: Final = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def encode(uid: str, answer: Answer) -> bytes:
    """The AdmissionReview that carries an answer to the review `uid`.

    Raises ValueError for an audit key that the API server would drop without a word (apiserver pkg/admission/attributes.go).
    """
    for key in answer.audit:
        if not _AUDIT_KEY.fullmatch(key):
            raise ValueError(f"{key!a} cannot be the key of an audit annotation: 63 letters, digits, '.', '_' or '-' at most")
    return _ENCODER.encode(
        _Answered(
            _Response(
                uid=uid,
                allowed=answer.allowed,
                status=None if answer.allowed else _status(answer),
                warnings=_warnings(answer.warnings) or None,
                audit_annotations=dict(answer.audit) or None,
            )
        )
    )


def _status(answer: Answer) -> _Status:
    causes = [_Cause(reason, message) for reason, message in answer.causes]
    if answer.code == HTTPStatus.UNPROCESSABLE_ENTITY:
        # kubectl shows nothing but the causes of what is Invalid (cmd/util/helpers.go): without this the message would be lost.
        causes.insert(0, _Cause("message", answer.message))
    return _Status(
        code=answer.code,
        reason=_REASONS.get(answer.code, "Forbidden"),
        message=answer.message,
        status="Failure",
        details=_Details(causes) if causes else None,
    )


def _warnings(warnings: Iterable[str]) -> list[str]:
    """One line each, none twice, no longer than what the API server passes on."""
    kept: list[str] = []
    room = MAX_WARNINGS
    lines = (_CONTROL.sub(" ", text).strip() for text in warnings)
    for line in dict.fromkeys(line if len(line) <= MAX_WARNING else line[: MAX_WARNING - 1] + "…" for line in lines):
        if line and len(line) <= room:
            room -= len(line)
            kept.append(line)
    return kept
