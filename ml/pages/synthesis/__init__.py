"""Synthetic pages: set by Typst, read back through the PDF reader, then degraded like scans."""
