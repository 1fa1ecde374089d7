"""Images drawn by a program, the same bits on every machine."""
