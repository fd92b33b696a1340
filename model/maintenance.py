"""How checks tell the maintenance page from a portal: by a marker in its head, never by its words or its status."""

from __future__ import annotations

MAINTENANCE_MARKER = '<meta name="engageip-patching" content="maintenance">'
"""Stands in ``report/templates/maintenance.html``; a portal that answers with it is not open."""


def is_maintenance_page(text: str) -> bool:
    """Whether an answer is our maintenance page, whatever its HTTP status says."""
    return MAINTENANCE_MARKER in text
