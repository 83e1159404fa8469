"""Trained modules as NIR graphs; the only folder that imports PyTorch."""
