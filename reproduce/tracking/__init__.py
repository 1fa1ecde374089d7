"""Weights & Biases: runs, names, and what is published afterwards."""
