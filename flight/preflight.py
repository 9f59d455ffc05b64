"""What is checked of a configuration before anything starts, beyond the ranges of its fields."""

from __future__ import annotations

from flight import budget, limits
from flight.config import ConfigError, FlightConfig
from flight.encoder.runtimes import CHOICES
from flight.learn import LEARNERS, Learner
from flight.link.definitions import MODES


def check(config: FlightConfig) -> None:
    """ConfigError, with the path of what cannot be used, or the sum of memory if that is over its cap."""
    if config.learner.name not in LEARNERS:
        raise ConfigError(f"learner.name: {config.learner.name!r} is unknown; known are {', '.join(LEARNERS)}")
    if LEARNERS[config.learner.name].summarise is Learner.summarise:
        told = "makes no summaries of chips, from which everything is predicted that goes down"
        raise ConfigError(f"learner.name: {config.learner.name!r} {told}: give it `summarise` and `predict_summaries`")
    if config.encoder.runtime not in CHOICES:
        raise ConfigError(f"encoder.runtime: {config.encoder.runtime!r} is unknown; known are {', '.join(CHOICES)}")
    if config.executive.start_mode not in MODES:
        raise ConfigError(f"executive.start_mode: {config.executive.start_mode!r} is not one of {', '.join(MODES)}")
    if config.watchdog.warn_s >= config.watchdog.fatal_s:
        raise ConfigError(
            f"watchdog.warn_s: {config.watchdog.warn_s:g} s must be less than watchdog.fatal_s, "
            f"{config.watchdog.fatal_s:g} s"
        )
    limits.check(config.limits)
    budget.check(config)
