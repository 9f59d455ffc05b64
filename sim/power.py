"""Simple models of what keeps a satellite alive: a battery charged by the Sun, and the temperature of its payload.

Both are exact between changes of load and Sun: charge grows linearly, temperature as a single thermal mass that sheds
heat to its surroundings in proportion to its excess (Newton's law of cooling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flight.config import described, limited

HOUR_S = 3600.0


@dataclass(frozen=True)
class WattsSection:
    """What each state draws [W]: of the payload's computer by what its CPU does, and of the rest of the satellite."""

    bus: float = limited(2.0, 0, 1e5, "the satellite without its payload, always")
    idle: float = limited(1.5, 0, 1e5, "payload with nothing to do, safe mode included")
    saving: float = limited(2.5, 0, 1e5, "payload writing a checkpoint")
    decoding: float = limited(4.0, 0, 1e5, "payload decoding a map")
    ingesting: float = limited(4.5, 0, 1e5, "payload taking in chips")
    training: float = limited(5.0, 0, 1e5, "payload training")
    predicting: float = limited(4.5, 0, 1e5, "payload predicting")
    transmitter: float = limited(4.0, 0, 1e5, "radio, during passes")


@dataclass(frozen=True)
class PowerSection:
    """Battery, solar array and temperature. Without this section flight hears of none of them."""

    enabled: bool = described(False, "whether there is a board that reports")
    battery_wh: float = limited(20.0, 0.01, 1e6, "capacity")
    battery: float = limited(0.8, 0, 1, "charge at the start, as a share of full")
    solar_w: float = limited(12.0, 0, 1e6, "from the array in sunlight")
    efficiency: float = limited(0.9, 0.01, 1, "of charging")
    report_s: float = limited(30.0, 1, 3600, "period of the board's readings")
    heat_j_per_k: float = limited(600.0, 1, 1e7, "heat capacity of the payload")
    loss_w_per_k: float = limited(0.25, 1e-4, 1e4, "heat that it sheds, a kelvin above its surroundings")
    surroundings_degc: float = limited(0.0, -200, 200, "temperature of its surroundings")
    sun_w: float = limited(3.0, 0, 1e4, "heat from the Sun")
    temperature_degc: float = limited(15.0, -200, 200, "at the start")
    watts: WattsSection = field(default_factory=WattsSection)


class Battery:
    """Charge in watt-hours, between empty and full."""

    def __init__(self, section: PowerSection) -> None:
        self._section = section
        self.charge_wh = section.battery * section.battery_wh
        self.lowest = section.battery

    @property
    def share(self) -> float:
        """Charge as a share of full."""
        return self.charge_wh / self._section.battery_wh

    def advance(self, seconds: float, load_w: float, sunlit: bool) -> None:
        """Let time pass with a constant load."""
        surplus_w = (self._section.solar_w if sunlit else 0.0) - load_w
        gained_wh = surplus_w * (self._section.efficiency if surplus_w > 0 else 1.0) * seconds / HOUR_S
        self.charge_wh = min(max(self.charge_wh + gained_wh, 0.0), self._section.battery_wh)
        self.lowest = min(self.lowest, self.share)


class ThermalMass:
    """The payload's temperature [degC]."""

    def __init__(self, section: PowerSection) -> None:
        self._section = section
        self.degc = self.highest = section.temperature_degc

    def advance(self, seconds: float, payload_w: float, sunlit: bool) -> None:
        """Let time pass with a constant load, all of which becomes heat."""
        section = self._section
        heat_w = payload_w + (section.sun_w if sunlit else 0.0)
        settled = section.surroundings_degc + heat_w / section.loss_w_per_k
        self.degc = settled + (self.degc - settled) * math.exp(-seconds * section.loss_w_per_k / section.heat_j_per_k)
        self.highest = max(self.highest, self.degc)
