"""What Panoptic-DeepLab imports of COCO's panopticapi, which no registry has; our models are not trained with it."""
