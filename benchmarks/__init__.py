"""Measures how fast the suite is, on the machine at hand; no part of the product."""
