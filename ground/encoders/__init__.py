"""Encoders: from unlabelled chips to a frozen network, and from there to a file that flies."""
