"""Memory as parameters say: duplicates, prefixes, writes, forks, and processes that come and go."""
