"""What no object of ours is made of: settings, from which keys are blanked, and strays. All of it is set aside."""

from storage_service.store import jsonfile, jsontext, secrets
from storage_service.store.archive import Entry
from storage_service.store.importing.contents import Root
from storage_service.store.importing.workshop import Steps, Workshop

_SETTINGS = "Settings of another program; this server has its own."


def set_aside(shop: Workshop, root: Root) -> Steps:
    """Keep everything else of a Jan folder in the quarantine, but for keys; say what is left out."""
    for path, reason in root.left_out:
        shop.report.refused(path, reason)
    for entry, reason in root.strays:
        yield from shop.quarantine(entry, reason)
    for entry in root.configuration:
        yield from _configuration(shop, entry)


def _configuration(shop: Workshop, entry: Entry) -> Steps:
    data = shop.read(entry, jsonfile.MAX_FILE_BYTES)
    try:
        value = jsontext.loads(data or b"")
    except ValueError:
        shop.report.refused(entry.name, "It may hold keys, and cannot be read to look for them.")
        return
    found = sorted(set(secrets.blank(value)))
    for key in found:
        shop.report.redacted(entry.name, key)
    written = jsontext.dumps(value, indented=True) if found else None
    yield from shop.quarantine(entry, _SETTINGS, written)
