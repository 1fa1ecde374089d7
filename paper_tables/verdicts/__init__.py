"""Holds our numbers against the paper's: cells, claims, and what they were measured under."""
