"""The command line, a command and its options in one place; packages from outside are imported where they are used."""
