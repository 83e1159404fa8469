"""The spiking path of a trained model as NIR graphs, on Lava and as a lava-dl network."""
