"""The one way a set-up fails."""


class Problem(Exception):
    """What is missing and what to do about it, in one line for the person at the keyboard."""
