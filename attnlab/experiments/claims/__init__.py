"""The course's claims, each with the experiment that tries it and the rule that makes a verdict of its numbers."""
