"""The control interface over HTTP: state, checkpoint, reproject, metrics and health."""
