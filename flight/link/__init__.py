"""The wire format, and the protocol on it, for both ends of the link; no sockets, files or clocks.

From the outside in: ``endpoint`` is the seam that flight and ground use; ``sending`` and ``receiving`` move files
(PDUs in ``pdu``), ``outbox`` and ``commands`` move packets, ``dictionary`` says what they hold; ``packet`` puts Space
Packets (CCSDS 133.0-B) into the frames of ``frame``, which ``security`` authenticates with the keys of ``keys``.
"""
