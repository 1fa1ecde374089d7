"""Draws the paper's figures: for print by matplotlib, and as data for the page's script."""
