"""A crowd of short-lived functions, each a process of its own."""
