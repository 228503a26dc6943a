"""What the machine has and does: memory, versions, time."""
