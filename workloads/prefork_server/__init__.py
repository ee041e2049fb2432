"""A pre-forking server whose workers rewrite memory over time, recorded from its start with all its workers."""
