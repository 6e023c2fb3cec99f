"""Interceptor: an ambassador that gives a stateful application back its memory."""

import hotpath  # noqa: F401  before any module that it may find compiled
