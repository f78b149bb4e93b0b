"""Hài lòng: from the portal's records to the signed quality scores of Decision 104/2024/QĐ-UBND."""

__version__ = "0.1.0"
