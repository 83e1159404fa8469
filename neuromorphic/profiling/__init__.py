"""What a network costs: energy models that price counted operations."""
