"""Lay out pages that open from disk: one style, templates that escape every text, nothing loaded."""
