"""What board this is and how it fares: name, processor, clock, temperature, throttling and power.

Every reader takes a `System`, so that it reads a recorded tree in tests as it reads the machine itself.
"""
