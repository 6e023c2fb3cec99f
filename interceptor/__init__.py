"""Interceptor: an ambassador that gives a stateful application back its memory."""
