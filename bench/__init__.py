"""The example application and the measurements: what the proxy costs and how fast it recovers."""
