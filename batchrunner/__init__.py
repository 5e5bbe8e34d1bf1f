"""Render many clips on Magic Hour from one manifest, paying for each exactly once."""

from __future__ import annotations

__version__ = "0.1.0"
