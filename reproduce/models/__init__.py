"""The nets: plain and residual, their counts, their weights from files."""
