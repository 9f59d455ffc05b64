"""The flight segment: what runs on board. It imports neither ``ground`` nor ``sim``."""

__version__ = "0.1.0"
