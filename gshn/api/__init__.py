"""The library's front door: what ``import gshn`` offers; see :func:`gshn.api.model.load`."""
