"""Stages 1 to 3 of the reproduction: configs/ -> runs/ -> results/. What the paper says is for paper_tables to know."""
