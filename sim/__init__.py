"""The world around flight and ground: Earth, orbit, camera, radio channel, faults and the time master."""
