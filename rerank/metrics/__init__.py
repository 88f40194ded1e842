"""Ranks, figures, intervals and hubness, and the tables and pages that show them."""
