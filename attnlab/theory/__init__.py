"""Closed forms and cost formulas, each with its source. Nothing here looks at a measurement."""
