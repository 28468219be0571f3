"""Readers: from files that people have to pages."""
