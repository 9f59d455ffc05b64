"""What flight refuses."""


class RefusedError(ValueError):
    """A file, command or chip that does not fit what is on board; nothing has changed."""
