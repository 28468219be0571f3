"""Pages: what they are, where they are kept, how they are read, made and split."""

from ml.pages.page import Box, Page, Provenance, Region, Word, page_id
from ml.pages.result import FoundRegion, PageResult, ReadWord

__all__ = ["Box", "FoundRegion", "Page", "PageResult", "Provenance", "ReadWord", "Region", "Word", "page_id"]
