"""What a ceremony changes, in plain words, computed from the documents and from metadata that is trusted already.

Nothing that the folder says about itself is used, and nothing is left out: what has no sentence of its own is
shown as the field that it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from heirloom.signing import bins, roles
from heirloom.signing.ceremony.base import Base
from heirloom.signing.ceremony.draft import content
from heirloom.signing.ceremony.holders import HOLDERS, keys_of, label, names_in
from heirloom.signing.metadata import EPOCH, MAKER, SIGNED_AT, URLS, file_name, parse_file_name

_AnyRole = Metadata[Root] | Metadata[Targets]
# Said by sentences, or different in every version.
_SAID = {"version", "expires", "keys", "roles", "delegations", "targets", SIGNED_AT, URLS, EPOCH, MAKER, HOLDERS}


@dataclass(frozen=True)
class Change:
    """One thing that the ceremony changes.

    Attributes:
        role: That it is about.
        kind: "gains", "loses", "threshold", "expires", "content", "places", "epoch", "maker", "holder" or "field".
        sentence: For people.
    """

    role: str
    kind: str
    sentence: str


def difference(base: Base, documents: Mapping[str, _AnyRole]) -> list[Change]:
    """All changes that the documents bring, the weightiest first.

    Args:
        base: Trusted.
        documents: By file name.
    """
    return list(_Words(base, documents).changes())


class _Words:
    def __init__(self, base: Base, documents: Mapping[str, _AnyRole]) -> None:
        self.base = base
        found = {parse_file_name(name)[1]: metadata for name, metadata in documents.items()}
        self.documents = dict(sorted(found.items(), key=lambda item: (item[0] not in roles.TOP_LEVEL, item[0])))
        proposed = [names for metadata in self.documents.values() for names in names_in(metadata).items()]
        # A name that people have signed counts more than one that is only proposed.
        self.names = {**base.known, **dict(proposed), **base.names()}
        # Bins of archives that list what they listed: one sentence says it of all.
        self.same_bins = {
            role: metadata.signed
            for role, metadata in self.documents.items()
            if isinstance(metadata.signed, Targets)
            and role in base.archives
            and content(base.archives[role]) == content(metadata)
        }

    def changes(self) -> Iterator[Change]:
        root = self.documents.get(roles.ROOT)
        if root is not None and isinstance(root.signed, Root):
            for role in roles.TOP_LEVEL:
                yield from self._holders(role, self.base.root.signed, root.signed)
        targets = self.documents.get(roles.TARGETS)
        if targets is not None and isinstance(targets.signed, Targets):
            for role in sorted({*_delegated(self.base.targets.signed), *_delegated(targets.signed)}):
                yield from self._holders(role, self.base.targets.signed, targets.signed)
            yield from self._delegation_rules(targets.signed)
        yield from self._archives()
        for role, metadata in self.documents.items():
            if role in self.same_bins:
                continue
            yield from self._fields(role, metadata)
            yield from self._names(role, metadata)
            yield from self._entries(role, metadata)
            yield from self._validity(role, metadata)

    def _archives(self) -> Iterator[Change]:
        for releases in sorted({roles.archived_below(name) or "" for name in self.same_bins}):
            found = [signed for name, signed in self.same_bins.items() if roles.archived_below(name) == releases]
            listed, until = sum(len(signed.targets) for signed in found), min(signed.expires for signed in found)
            yield Change(
                releases,
                "renewed",
                f"the archive of {releases} lists the same {listed} old releases as before, "
                f"in {len(found)} files valid until {until:%Y-%m-%d}",
            )

    def _is_told(self, releases: _AnyRole) -> bool:
        """Whether what a releases role says of its archive is that of the bins that are shown, too."""
        told = releases.signed.unrecognized_fields.get(bins.ARCHIVE)
        here = {
            name: bins.said(metadata)
            for name, metadata in self.documents.items()
            if roles.archived_below(name) and isinstance(metadata.signed, Targets)
        }
        return isinstance(told, dict) and told.items() <= here.items()

    def _holders(self, role: str, before: Root | Targets, after: Root | Targets) -> Iterator[Change]:
        old = {key.keyid: key for key in keys_of(before, role)}
        new = {key.keyid: key for key in keys_of(after, role)}
        was, now = _threshold(before, role), _threshold(after, role)
        if was is None:
            yield Change(role, "content", f"{role} is a new role")
        if now is None:
            yield Change(role, "content", f"{role} ends: nobody can sign for it any more")
        for keyid, key in new.items():
            if keyid not in old:
                yield Change(role, "gains", f"{label(key, self.names)} gains a signature for {role}{self._twin(keyid)}")
            elif old[keyid].to_dict() != key.to_dict():
                yield Change(role, "gains", f"{label(key, self.names)} is another key for {role} under the same keyid")
        for keyid, key in old.items():
            if keyid not in new:
                yield Change(role, "loses", f"{label(key, self.names)} loses its signature for {role}")
        if (was, len(old)) != (now, len(new)):
            before_text = f", {was} of {len(old)} until now" if was is not None else ""
            yield Change(role, "threshold", f"{role} needs {now or 0} of {len(new)} signatures{before_text}")

    def _twin(self, keyid: str) -> str:
        """A warning if a new key bears the name of somebody who is known by another key."""
        name = self.names.get(keyid)
        same = [other for other, known in self.base.names().items() if known == name and other != keyid]
        return f"; {name} is known by another key until now, ask them" if name and same else ""

    def _delegation_rules(self, after: Targets) -> Iterator[Change]:
        """Paths and order of delegations: nobody should ever change them, so they are shown raw."""
        before, now = _delegated(self.base.targets.signed), _delegated(after)
        for role, delegation in now.items():
            rules = _rules(delegation)
            if role in before and _rules(before[role]) != rules:
                yield Change(role, "field", f"{role} gets other rules: {rules} instead of {_rules(before[role])}")
            elif role not in before and role[:9] in ("releases-", "channels-") and rules != _usual(role):
                yield Change(role, "field", f"{role} gets unusual rules: {rules}")
        kept = [role for role in before if role in now]
        if kept != [role for role in now if role in before]:
            yield Change(roles.TARGETS, "field", f"the order of delegations becomes {', '.join(now)}")
        used = {keyid for delegation in now.values() for keyid in delegation.keyids}
        for keyid in sorted(set(after.delegations.keys if after.delegations else {}) - used):
            yield Change(roles.TARGETS, "field", f"targets lists the key {keyid[:16]}, which no role uses")

    def _fields(self, role: str, metadata: _AnyRole) -> Iterator[Change]:
        current = self.base.current(role)
        before = current.signed.to_dict() if current else {}
        after = metadata.signed.to_dict()
        for field, kind in ((URLS, "places"), (EPOCH, "epoch"), (MAKER, "maker")):
            if before.get(field) != after.get(field):
                yield Change(role, kind, _SENTENCES[field](before.get(field), after.get(field)))
        known = {*_SAID} if current else {*_SAID, "_type", "spec_version"}
        if self._is_told(metadata):
            known.add(bins.ARCHIVE)
        for field in sorted((set(before) | set(after)) - known):
            if before.get(field) != after.get(field):
                yield Change(role, "field", f"{role}: {field} changes from {before.get(field)} to {after.get(field)}")
        if isinstance(metadata.signed, Root):
            used = {keyid for held in metadata.signed.roles.values() for keyid in held.keyids}
            for keyid in sorted(set(metadata.signed.keys) - used):
                yield Change(role, "field", f"root lists the key {keyid[:16]}, which no role uses")
            for name, held in metadata.signed.roles.items():
                if held.unrecognized_fields != self._role_extras(name):
                    yield Change(role, "field", f"root says about {name}: {held.unrecognized_fields}")

    def _role_extras(self, name: str) -> Mapping[str, object]:
        known: Role | None = self.base.root.signed.roles.get(name)
        return known.unrecognized_fields if known else {}

    def _names(self, role: str, metadata: _AnyRole) -> Iterator[Change]:
        current = self.base.current(role)
        before = names_in(current) if current else {}
        written = []
        for keyid, name in sorted(names_in(metadata).items()):
            if keyid not in before and self.base.known.get(keyid) == name:
                written.append(name)
            elif keyid in before and before[keyid] != name:
                yield Change(role, "holder", f"the key {keyid[:16]} of {before[keyid]} is from now on called {name}'s")
            elif keyid not in before and self._is_old(keyid):
                yield Change(role, "holder", f"the key {keyid[:16]}, in use already, is called {name}'s")
        if written:
            yield Change(
                role, "holder", f"{role} writes down the names that keys have here: {', '.join(sorted(written))}"
            )

    def _is_old(self, keyid: str) -> bool:
        delegations = self.base.targets.signed.delegations
        return keyid in self.base.root.signed.keys or bool(delegations and keyid in delegations.keys)

    def _entries(self, role: str, metadata: _AnyRole) -> Iterator[Change]:
        if not isinstance(metadata.signed, Targets):
            return
        current = self.base.current(role)
        before = current.signed.targets if current and isinstance(current.signed, Targets) else {}
        after = metadata.signed.targets
        for path in sorted(set(before) | set(after)):
            if before.get(path) != after.get(path):
                verb = "adds" if path not in before else "removes" if path not in after else "changes"
                yield Change(role, "content", f"{role} {verb} {path}")
        yield from self._deeper(role, metadata.signed)
        if current and before == after and role != roles.TARGETS:
            yield Change(role, "renewed", f"{role} lists the same {len(after)} releases as before")

    def _deeper(self, role: str, signed: Targets) -> Iterator[Change]:
        """Delegations below a board's role."""
        current = self.base.current(role)
        before = current.signed.delegations if current and isinstance(current.signed, Targets) else None
        if role == roles.TARGETS or before == signed.delegations:
            return
        if signed.delegations == self._own_archive(role):
            yield Change(role, "holder", f"whoever signs {role} signs its archive of old releases, too")
        else:
            now = signed.delegations.to_dict() if signed.delegations else "nobody"
            yield Change(role, "field", f"{role} delegates to {now}")

    def _own_archive(self, role: str) -> Delegations | None:
        """What a releases role says that gives its archive to its own holders; None for other roles."""
        targets = self.documents.get(roles.TARGETS, self.base.targets)
        if not (isinstance(targets.signed, Targets) and role in _delegated(targets.signed)):
            return None
        expected = Metadata(Targets())
        bins.delegate(expected, role, Metadata(targets.signed))
        return expected.signed.delegations

    def _validity(self, role: str, metadata: _AnyRole) -> Iterator[Change]:
        current = self.base.current(role)
        signed = metadata.signed
        until = f", {current.signed.expires:%Y-%m-%d} until now" if current else ""
        days = (signed.expires - current.signed.expires).days if current else 0
        shorter = " (EARLIER than before)" if days < 0 else ""
        name = file_name(role, signed.version)
        said = signed.unrecognized_fields.get(SIGNED_AT)
        yield Change(role, "expires", f"{name} is valid until {signed.expires:%Y-%m-%d}{until}{shorter}; signed {said}")


def _delegated(targets: Targets) -> Mapping[str, DelegatedRole]:
    return targets.delegations.roles or {} if targets.delegations else {}


def _rules(delegation: DelegatedRole) -> dict[str, object]:
    return {key: value for key, value in delegation.to_dict().items() if key not in ("keyids", "threshold", "name")}


def _usual(role: str) -> dict[str, object]:
    return {"terminating": True, "paths": roles.paths(role)}


def _threshold(delegator: Root | Targets, role: str) -> int | None:
    try:
        return delegator.get_delegated_role(role).threshold
    except ValueError:
        return None


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _maker(before: object, after: object) -> str:
    old, new = (value if isinstance(value, dict) else {"maker": value} for value in (before, after))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"the product's {key} becomes {new.get(key)}, until now {old.get(key)}" for key in keys)


_SENTENCES = {
    URLS: lambda before, after: f"devices will look at {_listed(after)}; until now at {_listed(before)}",
    EPOCH: lambda before, after: f"the epoch becomes {after}, until now {before}: every release of before orders below",
    MAKER: _maker,
}
