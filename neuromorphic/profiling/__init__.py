"""What a trained model costs: counts of what it computes, energy models that price them, and meters."""
