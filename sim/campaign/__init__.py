"""The fault campaign: thousands of short missions, each with faults of its own, and what must hold after each."""
