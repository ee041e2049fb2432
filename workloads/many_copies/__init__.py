"""More copies of a content than one frame may have."""
