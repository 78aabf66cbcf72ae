"""What the translators of Istio's kinds share: hosts, namespaces, texts."""

from __future__ import annotations

from collections.abc import Iterable

from immutables import Map

from ambient.control.objects import Selector
from ambient.control.schema.istio import StringMatch, Targeted
from ambient.control.translate.kubernetes import DOMAIN
from ambient.core.model.request_authorization import Target
from ambient.core.model.route import TextMatch, TextMatchKind


def whole_host(host: str, namespace: str) -> str:
    """A host's whole name: a short one is of the object's namespace, one with a dot is whole. Source: Istio."""
    return host if host == "*" or "." in host else f"{host}.{namespace}.{DOMAIN}"


def service_key(host: str) -> str:
    """``namespace/hostname``; without a namespace where the host does not say it, as another object does."""
    name, _, rest = host.partition(".")
    namespace, _, domain = rest.partition(".")
    return f"{namespace}/{host}" if name and domain == DOMAIN else f"/{host}"


def exported_to(export_to: Iterable[str], namespace: str) -> frozenset[str] | None:
    """The namespaces that see an object; None: all."""
    wanted = frozenset(namespace if name == "." else name for name in export_to) - {"~"}
    return None if "*" in wanted or not tuple(export_to) else wanted


def text_match(match: StringMatch) -> TextMatch:
    """How a text is compared; PRESENT if nothing is asked of it."""
    if match.exact is not None:
        return TextMatch(TextMatchKind.EXACT, match.exact)
    if match.prefix is not None:
        return TextMatch(TextMatchKind.PREFIX, match.prefix)
    if match.regex is not None:
        return TextMatch(TextMatchKind.REGEX, match.regex)
    return TextMatch(TextMatchKind.PRESENT, "")


def comparing(match: StringMatch | None) -> TextMatch | None:
    """The same of something that every request has; None if nothing is asked of it."""
    return None if match is None or match.is_empty else text_match(match)


def selected(spec: Targeted) -> tuple[Selector, tuple[Target, ...]]:
    """Whom a policy is for: labels of workloads, or targets."""
    selector = Map(spec.selector.match_labels) if spec.selector else Map[str, str]()
    return selector, tuple(Target(target.kind, target.name) for target in spec.targets)
