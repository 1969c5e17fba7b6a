"""The FUSE surface: translates kernel requests into calls of the model."""
