"""The target: which incarnation of it is alive now, and, where we started it, keeping it alive.

`detection` answers "who is there", `judgement` turns that answer into "it died" or "it is the same one", and
`supervisor` runs the command that the target is.
"""
