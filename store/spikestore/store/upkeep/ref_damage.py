"""Verification and repair of names: of all entries in the log of a name, not only of the newest."""

from __future__ import annotations

from collections.abc import Iterable

from spikestore.store import refs
from spikestore.store.storage import Storage
from spikestore.store.upkeep.repair_documents import Repaired
from spikestore.store.upkeep.verify import Damage, damage_of
from spikestore.store_schemas.errors import DamagedError, NewerFormatError, StoreError


def verify_refs(storage: Storage, names: Iterable[str] | None = None) -> list[Damage]:
    """Return the damaged entries in the logs of names.

    Parameters
    ----------
    storage : Storage
        The store.
    names : iterable of str, optional
        The names; by default all names, also removed names.

    Returns
    -------
    list of Damage
        One for each damaged entry.
    """
    try:
        logs = [*refs.read_logs(storage, names)]
    except DamagedError as error:  # something else is in the place of their folder
        return [damage_of(error, "refs")]
    return [damage_of(ref, entry.path) for entry, ref in logs if isinstance(ref, StoreError)]


def repair_older_refs(storage: Storage, name: str) -> tuple[list[Repaired], list[Damage]]:
    """Replace the damaged older entries of a name; the newest entry, which is the value of the name, stays as it is.

    A damaged older entry cannot be restored, because no other document has its content. It is replaced by an entry that says that
    the name was removed. The name keeps its value, because an older entry is not used if a newer entry exists.

    Returns
    -------
    repaired : list of Repaired
        The replaced entries.
    left : list of Damage
        The older entries that are still damaged, with the reason.
    """
    repaired, left = [], []
    for entry, ref in refs.read_logs(storage, [name]):
        if entry.newest or not isinstance(ref, StoreError):
            continue
        if isinstance(ref, NewerFormatError):
            left.append(damage_of(ref, entry.path))
            continue
        try:
            refs.replace_older(storage, name, entry.number)
        except DamagedError as error:
            left.append(damage_of(error, entry.path))
        else:
            how = "replaced by an entry that lists no sets, because the sets of the damaged entry are unknown; the name still refers to the same sets, because only its newest entry counts"
            repaired.append(Repaired(entry.path, how))
    return repaired, left
