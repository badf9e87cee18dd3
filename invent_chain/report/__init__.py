"""HTML pages, self-contained: what one query rests on, and how a scorer did on labelled samples."""

from invent_chain.report.query import query_page
from invent_chain.report.samples import samples_page

__all__ = ["query_page", "samples_page"]
