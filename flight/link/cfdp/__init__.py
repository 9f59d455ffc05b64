"""CFDP (CCSDS 727.0-B-5), acknowledged mode: PDUs, and the state machines of a source and a destination entity.

Everything here is one transaction at a time, without input, output or clock: a machine is given PDUs and the seconds in
view, and asked for the next PDU that fits a frame. `flight.link.sending` and `flight.link.receiving` hold many of them.
"""
