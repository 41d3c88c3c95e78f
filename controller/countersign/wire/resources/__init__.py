"""Our five resources v1alpha1, and Namespaces: JSON to the core's types. Every `parse_*` raises WireError."""

from countersign.wire.errors import WireError
from countersign.wire.resources.approval import APPROVAL, parse_approval
from countersign.wire.resources.base import Kind
from countersign.wire.resources.environment import PROTECTED_ENVIRONMENT, parse_environment
from countersign.wire.resources.identity import AGENT_IDENTITY, parse_agent_identity
from countersign.wire.resources.namespace import parse_meta, parse_namespace
from countersign.wire.resources.request import CHANGE_REQUEST, parse_change_request, render_change_request
from countersign.wire.resources.reviewer import REVIEWER, parse_reviewer

KINDS: tuple[Kind, ...] = (AGENT_IDENTITY, REVIEWER, PROTECTED_ENVIRONMENT, CHANGE_REQUEST, APPROVAL)

__all__ = [
    "AGENT_IDENTITY",
    "APPROVAL",
    "CHANGE_REQUEST",
    "KINDS",
    "PROTECTED_ENVIRONMENT",
    "REVIEWER",
    "Kind",
    "WireError",
    "parse_agent_identity",
    "parse_approval",
    "parse_change_request",
    "parse_environment",
    "parse_meta",
    "parse_namespace",
    "parse_reviewer",
    "render_change_request",
]
