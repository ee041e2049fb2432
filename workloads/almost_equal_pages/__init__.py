"""Pages that are equal but for their last 8 bytes."""
