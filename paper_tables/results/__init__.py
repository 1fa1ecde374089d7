"""Reads what trainings and tests left under results/, and holds it together with the paper."""
