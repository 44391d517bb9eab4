"""INT8 in a deployed graph: where layers are quantised, how that is written, what engines want.

Which layers run in INT8 is decided in ``compress.quantize``; exporters only translate.
"""
