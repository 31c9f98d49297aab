"""The trusted side of the layers: from what was decided to a layer's parameters, one module of the layer's name each.

Each has a function `parameters`, which returns None where nothing is asked of the layer. A layer about which nothing
has to be decided has no module here.
"""
