"""Debian guests from one image: builds it, boots N of them, gives each a load, and records them as a shipped trace."""
