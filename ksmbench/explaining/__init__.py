"""Which mappings KSM can merge, what merging them would save, and where pages that are almost equal differ."""
