"""The one exception that is the user's to repair."""


class UserError(Exception):
    """Bad input: one line that names the file or key and the cure. The command line prints it and exits 2."""
