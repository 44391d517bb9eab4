"""Export for TFLite (LiteRT).

litert-torch converts the float network; ai-edge-quantizer stores weights smaller, and writes the
INT8 decisions of compress into the file. Neither is needed to run it.
"""
