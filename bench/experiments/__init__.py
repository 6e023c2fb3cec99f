"""The experiments whose results stand in docs/performance.md: how each is run, drawn and written down."""
