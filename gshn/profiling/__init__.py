"""What a trained model computes and costs: its spiking path from real spikes, all else from its operators."""
