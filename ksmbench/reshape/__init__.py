"""New traces out of traces: a window or some spaces of one (`cut`), several as on one host (`combine`)."""
