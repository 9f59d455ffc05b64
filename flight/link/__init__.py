"""The wire format, and the protocol on it, for both ends of the link; no sockets, files or clocks.

From the outside in: ``endpoint`` is the seam that flight and ground use; ``sending`` and ``receiving`` move files
(PDUs in ``pdu``), ``outbox`` and ``commands`` move packets, ``dictionary`` says what they hold. ``datalink`` stands
between packets and the radio: ``packet`` makes Space Packets (CCSDS 133.0-B), ``channels`` puts them into frames, whose
headers are in ``tc`` and ``tm``, and ``security`` authenticates those with the ``keys`` that ``keyuse`` says.
"""
