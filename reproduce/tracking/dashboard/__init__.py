"""Saved views and the report at Weights & Biases."""
