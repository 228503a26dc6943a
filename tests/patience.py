"""How long anything here is waited for."""

#: Seconds after which what hangs is given up: so many that nothing else takes them, however busy the machine is.
PATIENCE = 20 * 60.0
