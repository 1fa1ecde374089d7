"""The paper's tables with ours beside them, as plain data."""
