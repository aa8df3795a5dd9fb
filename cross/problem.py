"""What keeps a release from being made, told in one line."""


class Problem(Exception):
    """The text says what is wrong and how to mend it."""
