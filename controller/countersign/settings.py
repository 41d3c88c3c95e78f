"""The environment of a process, read once into one frozen `Settings`; all faults are reported together."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from countersign.domain.durations import parse_duration
from countersign.domain.errors import CountersignError
from countersign.domain.profile import Profile

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
OPERATOR: Final = "operator"
CERT_MANAGER: Final = "cert-manager"
PROVIDED: Final = "provided"
_LEVELS: Final = ("debug", "info", "warning", "error")

T = TypeVar("T")


class SettingsError(CountersignError):
    """One line for each fault in the environment."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`request_ttl`, `cool_off`, `keep_ended` and `max_open_requests` are those of docs/rules.md; `stale_after` bounds a cache's silence.
    `note_every`: how often a webhook leaves a note (docs/rules.md, The decision log).

    `cluster_name`: "" calls the cluster after the UID of its kube-system. `client_authorities` (PEM) and `client_names`: who signs the client certificate that the API server shows, and the common names that it may
    bear; both or none. `certificate_source`: who makes the webhook's certificate; from `certificate_secret`, where that is not the operator, and trusted by
    `certificate_authorities` (PEM) besides what that Secret says. `namespace_owners`: the kinds, as `group/Kind`, whose objects may own namespaces (Capsule's tenants). `authorizer`: whether the API
    server may ask us about accesses, with the files that it finds in `authorizer_folder` of its own host.
    """

    api_server: str
    api_ca_file: Path
    token_file: Path
    namespace: str
    cluster_name: str
    listen_host: str
    listen_port: int
    webhook_url: str
    request_ttl: timedelta
    cool_off: timedelta
    keep_ended: timedelta
    max_open_requests: int
    client_authorities: str
    client_names: tuple[str, ...]
    certificate_source: str
    certificate_secret: str
    certificate_authorities: str
    stale_after: timedelta
    drain: timedelta
    namespace_owners: tuple[str, ...]
    profile: Profile
    authorizer: bool
    authorizer_folder: str
    policy_jail: bool
    lockdown_after_tampering: bool
    glass_ahead: timedelta
    note_every: timedelta
    replica: str
    log_level: str


def read(environment: Mapping[str, str], *, listen: str) -> Settings:
    """Read `COUNTERSIGN_*`; `listen` is the default HOST:PORT. Raises SettingsError that names every fault."""
    faults: list[str] = []

    def value(name: str, default: str | None, parse: Callable[[str], T]) -> T | None:
        text = environment.get(f"COUNTERSIGN_{name}") or default
        if text is None:
            faults.append(f"COUNTERSIGN_{name} is not set.")
            return None
        try:
            return parse(text)
        except ValueError as error:
            faults.append(f"COUNTERSIGN_{name}={text!r}: {error}.")
            return None

    in_cluster = _in_cluster(environment)
    listening = value("LISTEN", listen, _listen) or ("", 0)
    if listening[0] == "*":
        listening = (_all_addresses(environment), listening[1])
    parts = {
        "api_server": value("API_SERVER", in_cluster, _https),
        "api_ca_file": value("API_CA_FILE", str(_ACCOUNT / "ca.crt"), Path),
        "token_file": value("TOKEN_FILE", str(_ACCOUNT / "token"), Path),
        "namespace": value("NAMESPACE", "countersign", _dns_label),
        "cluster_name": value("CLUSTER_NAME", "", _cluster_name),
        "webhook_url": value("WEBHOOK_URL", "", lambda text: _https(text) if text else ""),
        "request_ttl": value("REQUEST_TTL", "24h", _positive),
        "cool_off": value("COOL_OFF", "1h", parse_duration),
        "keep_ended": value("KEEP_ENDED", "7d", parse_duration),
        "max_open_requests": value("MAX_OPEN_REQUESTS", "20", _count),
        "client_authorities": value("CLIENT_CA", "", _authorities),
        "client_names": value("CLIENT_NAMES", "", _names),
        "certificate_source": value("CERTIFICATE_SOURCE", OPERATOR, _source),
        "certificate_secret": value("CERTIFICATE_SECRET", "", lambda text: _object(text) if text else ""),
        "certificate_authorities": value("CERTIFICATE_CA", "", _authorities),
        "stale_after": value("STALE_AFTER", "60s", _positive),
        "drain": value("DRAIN", "10s", parse_duration),
        "namespace_owners": value("NAMESPACE_OWNERS", "", _owners),
        "profile": value("PROFILE", Profile.STANDARD, _profile),
        "authorizer": value("AUTHORIZER", "false", _switch),
        "authorizer_folder": value("AUTHORIZER_FOLDER", "/etc/kubernetes/countersign", _folder),
        "policy_jail": value("POLICY_JAIL", "false", _switch),
        "lockdown_after_tampering": value("LOCKDOWN_AFTER_TAMPERING", "false", _switch),
        "glass_ahead": value("GLASS_AHEAD", "5m", _positive),
        "note_every": value("NOTE_EVERY", "1m", _positive),
        "replica": value("REPLICA", environment.get("HOSTNAME") or "local", str),
        "log_level": value("LOG_LEVEL", "info", _level),
    }
    if bool(parts["client_authorities"]) != bool(parts["client_names"]):
        faults.append(
            "COUNTERSIGN_CLIENT_CA and COUNTERSIGN_CLIENT_NAMES go together: an authority signs for others than the API server, too."
        )
    if parts["certificate_source"] not in {OPERATOR, None} and not parts["certificate_secret"]:
        faults.append("COUNTERSIGN_CERTIFICATE_SECRET is not set: name the Secret in which the webhook's certificate is brought.")
    if faults:
        raise SettingsError("\n".join(["The environment is not usable:", *faults]))
    return Settings(**parts, listen_host=listening[0], listen_port=listening[1])  # type: ignore[arg-type]  # no None is left: faults is empty


def api_of(environment: Mapping[str, str]) -> tuple[str, Path, Path] | None:
    """The API server, its CA and the token, where they are configured or it is a pod's environment. Raises SettingsError."""
    server = environment.get("COUNTERSIGN_API_SERVER") or _in_cluster(environment)
    if server is None:
        return None
    try:
        server = _https(server)
    except ValueError as error:
        raise SettingsError(f"COUNTERSIGN_API_SERVER={server!r}: {error}.") from error
    ca_file = environment.get("COUNTERSIGN_API_CA_FILE") or str(_ACCOUNT / "ca.crt")
    return server, Path(ca_file), Path(environment.get("COUNTERSIGN_TOKEN_FILE") or str(_ACCOUNT / "token"))


def _in_cluster(environment: Mapping[str, str]) -> str | None:
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _https(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username:
        raise ValueError("give an https:// URL without user information")
    return text.rstrip("/")


def _all_addresses(environment: Mapping[str, str]) -> str:
    """Of the family that the pod has: a cluster of IPv6 alone asks at no other, and a node without IPv6 has none to listen at."""
    return "::" if ":" in environment.get("COUNTERSIGN_POD_IP", "") else "0.0.0.0"  # noqa: S104  # a pod is reached at its own address


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:  # noqa: PLR2004  # the range of TCP ports
        raise ValueError("give HOST:PORT, such as 0.0.0.0:8443, or *:8443")
    return host.strip("[]"), int(port)


def _dns_label(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise ValueError("give the name of a namespace")
    return text


def _source(text: str) -> str:
    if text not in {OPERATOR, CERT_MANAGER, PROVIDED}:
        raise ValueError(f"give {OPERATOR}, {CERT_MANAGER} or {PROVIDED}")
    return text


def _object(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text):
        raise ValueError("give the name of an object")
    return text


def _cluster_name(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9._]{0,62}", text):
        raise ValueError("give letters, digits, '-', '.' and '_', 63 at the most")
    return text


def _owners(text: str) -> tuple[str, ...]:
    owners = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"[a-z0-9][-a-z0-9.]*/[A-Z][A-Za-z0-9]*", owner) for owner in owners):
        raise ValueError("give GROUP/KIND, such as capsule.clastix.io/Tenant, with commas between several")
    return owners


def _profile(text: str) -> Profile:
    if text not in tuple(Profile):
        raise ValueError(f"give {' or '.join(Profile)}")
    return Profile(text)


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("give true or false")
    return text == "true"


def _folder(text: str) -> str:
    if not re.fullmatch(r"(/[-A-Za-z0-9._]+)+", text):
        raise ValueError("give the absolute path of a folder, such as /etc/kubernetes/countersign")
    return text


def _positive(text: str) -> timedelta:
    duration = parse_duration(text)
    if not duration:
        raise ValueError("give a duration longer than nothing")
    return duration


def _authorities(text: str) -> str:
    if text:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError("give certificates in PEM") from error
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) == 0:
        raise ValueError("give a number from 1 to 99999")
    return int(text)


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise ValueError(f"give one of {', '.join(_LEVELS)}")
    return text.lower()
