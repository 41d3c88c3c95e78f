"""What holds for every object: nothing but WireError comes out of a parser, and what is rendered reads the same."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from countersign.domain.document import parse
from countersign.domain.resources import Change, ChangeRequest, Cluster, Losses, Meta, Requester, Target
from countersign.wire.resources import (
    WireError,
    parse_agent_identity,
    parse_approval,
    parse_change_request,
    parse_environment,
    parse_namespace,
    parse_reviewer,
    render_change_request,
)
from tests.support.resource_cases import SPECS

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
digests = st.just("") | st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
counts = st.sampled_from([None, 0, 1, 1000])

change_requests = st.builds(
    ChangeRequest,
    meta=st.builds(Meta, name=some),
    cluster=st.builds(Cluster, name=some, uid=some),
    operation=st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
    target=st.builds(
        Target,
        group=st.sampled_from(["", "apps", "kube-countersign.dev"]),
        version=some,
        resource=some,
        name=some,
        namespace=text,
        uid=text,
    ),
    change=st.builds(Change, old=digests, new=digests, lines=st.lists(text, max_size=5).map(tuple)),
    losses=st.builds(Losses, volumes=counts, load_balancers=counts),
    requester=st.builds(
        Requester, username=some, key=some, agents=st.lists(some, max_size=3).map(tuple), sponsors=st.lists(some, max_size=3).map(tuple)
    ),
    environments=st.lists(some, max_size=3).map(tuple),
    required=st.integers(1, 21),
    round=st.integers(1, 1000),
    expires_at=st.datetimes(
        datetime(2020, 1, 1),  # noqa: DTZ001  # the bounds are naive by contract
        datetime(2100, 1, 1),  # noqa: DTZ001  # the same
        timezones=st.just(UTC),
    ).map(lambda time: time.replace(microsecond=0)),
    statement=some,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


@given(change_requests)
def test_a_change_request_reads_as_it_was_written(request: ChangeRequest) -> None:
    written = json.dumps(render_change_request(request))
    assert parse_change_request(parse(written)) == request


@given(st.data())
def test_one_strange_value_anywhere_never_escapes_as_another_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPECS)))
    obj = json.loads(json.dumps({"kind": kind, "metadata": {"name": "it"}, "spec": SPECS[kind]}))
    place, key = data.draw(st.sampled_from(list(_places(obj))))
    place[key] = data.draw(json_values)
    parser: Any = {
        "AgentIdentity": parse_agent_identity,
        "Reviewer": parse_reviewer,
        "ProtectedEnvironment": parse_environment,
        "ChangeRequest": parse_change_request,
        "Approval": parse_approval,
    }[kind]
    try:
        parser(parse(json.dumps(obj)))
    except WireError as error:
        assert str(error)  # noqa: PT017  # either way is right; anything else than these two is not


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "kind"]), json_values))
@example({"metadata": {"name": "a", "labels": {"x": None}, "annotations": 7}})
def test_a_namespace_of_any_shape(obj: dict[str, Any]) -> None:
    try:
        namespace = parse_namespace(parse(json.dumps(obj)))
    except WireError:
        return
    assert namespace.meta.name
    assert all(isinstance(value, str) for value in [*namespace.labels.values(), *namespace.annotations.values()])


def _places(tree: Any) -> Any:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
