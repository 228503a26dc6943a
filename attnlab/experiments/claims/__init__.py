"""The course's claims, each with the experiment that tries it and the rule that makes a verdict of its numbers.

Begin with `claim`: what a claim, a trial and a verdict are. `registry` lists the claims in order. `laws` is the
mathematics on trial, handed to every experiment, so that a test can hand it a wrong one and see the verdict turn.
"""
