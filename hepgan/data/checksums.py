"""Checksums of RNTuples (XXH3, 64 bits): of each page and each list of pages, which uproot reads past.

Without them a flipped bit gives other numbers and no error. uproot compares those of the anchor, header and footer.
"""

from __future__ import annotations

from typing import Any

import uproot
import xxhash

__all__ = ["verify"]

_CHECKSUM = 8  # bytes


def verify(ntuple: Any) -> None:
    """Compare the lists of pages with their checksums now, and each page that has one when it is read.

    Args:
        ntuple: uproot's RNTuple; its header and footer are read, too.

    Raises:
        ValueError: If a list of pages differs from its checksum; for a page, the reading of the field raises it.
        Exception: Whatever uproot raises for a damaged header or footer.
    """
    _ = ntuple.header
    for record in ntuple.footer.cluster_group_records:
        link = record.page_list_link
        envelope, _ = ntuple.read_locator(link.locator, link.env_uncomp_size)
        _compare(envelope.raw_data, "a list of pages")
    columns = [column for cluster in ntuple.page_link_list for column in cluster]
    marked = {page.locator.offset for column in columns for page in column.pages if page.has_checksum}
    usual = ntuple.read_locator

    def read_locator(place: Any, size: int) -> tuple[Any, Any]:
        if place.offset not in marked:
            return usual(place, size)  # type: ignore[no-any-return]
        page = ntuple.file.source.chunk(place.offset, place.offset + place.num_bytes + _CHECKSUM)
        _compare(page.raw_data, "a page")
        cursor = uproot.source.cursor.Cursor(place.offset)
        if place.num_bytes < size:
            page = uproot.compression.decompress(page, cursor, {}, place.num_bytes, size)
            cursor.move_to(0)
        return page, cursor

    ntuple.read_locator = read_locator


def _compare(data: Any, part: str) -> None:
    """Compare data with the checksum at its end."""
    data = bytes(data)
    if xxhash.xxh3_64_intdigest(data[:-_CHECKSUM]) != int.from_bytes(data[-_CHECKSUM:], "little"):
        raise ValueError(f"{part} differs from its checksum")
