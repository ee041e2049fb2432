"""A pre-forking service that opted in by prctl, whose workers come to hold the same after the fork."""
