"""What storage plugins share: streams over broken connections, uploads in parts, listings side by side."""

from windlass.transfer.listing import Page, list_ranges
from windlass.transfer.objects import changed, put_once
from windlass.transfer.streams import Chunk, RangeStream, again, ahead, in_order
from windlass.transfer.uploads import Journal, Source, send_parts, stale_uploads

__all__ = [
    "Chunk", "Journal", "Page", "RangeStream", "Source", "again", "ahead", "changed", "in_order", "list_ranges",
    "put_once", "send_parts", "stale_uploads",
]  # fmt: skip
