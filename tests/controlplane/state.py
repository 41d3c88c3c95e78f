"""What is remembered about a cluster between two commands: .cluster/state.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from tests.controlplane.errors import ClusterDown, HarnessError
from tests.controlplane.files import write_json
from tests.controlplane.paths import Layout

Kind = Literal["local", "kind"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PORTS = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "webhook", "operator")


@dataclass(frozen=True, slots=True)
class State:
    """`ready` turns true at the end of `up`. `created` says that the kind cluster was made whole. `ports` are the local one's."""

    kind: Kind
    ready: bool = False
    created: bool = False
    ports: dict[str, int] = field(default_factory=dict)


def kind_of(text: str) -> Kind:
    """
    Raises:
        HarnessError: neither `local` nor `kind`
    """
    for kind in KINDS:
        if text == kind:
            return kind
    raise HarnessError(f"CLUSTER is {text!r}: it takes `local` (plain processes, the default) or `kind` (a cluster in Docker)")


def load(layout: Layout) -> State | None:
    try:
        return State(**json.loads(layout.state_file.read_text()))
    except FileNotFoundError:
        return None


def demand(layout: Layout) -> State:
    """
    Raises:
        ClusterDown: nothing is up.
    """
    state = load(layout)
    if state is None:
        raise ClusterDown(f"no cluster is up in {layout.state}: run `make up` (CLUSTER=local or kind)")
    return state


def save(layout: Layout, state: State) -> None:
    write_json(layout.state_file, asdict(state))
