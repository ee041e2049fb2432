"""A guest that works, gives memory back and is restarted, beside one that stays as it is."""
