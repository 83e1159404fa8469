"""What detectron2 wants of torchvision, which has no build for every torch: in plain PyTorch, on the path where it is
not installed.
"""

__version__ = "0.28.0"
