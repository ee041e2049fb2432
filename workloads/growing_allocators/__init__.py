"""Programs whose large blocks grow by mremap, recorded as children of one launcher."""
