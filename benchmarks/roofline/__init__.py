"""How close engines come to what the processor can do: the roofline of Williams et al. (2009).

A call cannot take less time than its multiply-accumulates at the highest rate of arithmetic, nor
less than its bytes at the highest rate of memory. Both rates are measured on the spot, not read in
a data sheet; see ``ceilings``. What a call needs is counted in its graph; see ``layers``.
"""
