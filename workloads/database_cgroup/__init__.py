"""A database and its clients in a control group."""
