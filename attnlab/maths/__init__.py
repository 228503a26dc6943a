"""Attention, its statistics and the layers around it, in numpy.

One letter per axis everywhere: h query heads, g key/value heads (g divides h; query head i uses key/value head
i // (h/g)), n queries, m keys, d key width, e value width. Leading axes are suppressed in the docstrings.
"""
