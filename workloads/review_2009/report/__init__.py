"""The report about the questions of the 2009 review: every number in it comes from replays made for it."""
