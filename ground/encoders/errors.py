"""What goes wrong with encoders and can be mended by whoever asked for them."""


class EncoderError(ValueError):
    """Training of an encoder cannot begin, or cannot go on."""


class SettingsError(EncoderError):
    """Settings that do not fit each other, the recipe or the chips."""


class CheckpointError(EncoderError):
    """A checkpoint that cannot be used; the message names the file and what is wrong."""


class CollapseError(EncoderError):
    """An encoder that says the same of all chips, or nearly; the message gives its effective rank."""
