"""Ways to mix tokens, each with the order that its name promises, to be timed side by side.

They take finite numbers; what attention does with NaN, masks and biases is `attnlab.maths.attention`'s to say.
"""
