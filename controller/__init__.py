"""The Kubernetes controller: reads and patches Kubernetes objects, calls the sidecars' admin endpoints, keeps nothing.

It imports nothing of the interceptor.  What it has to know of it is `options.json`, made by
`python -m interceptor.cli.option_table`, and the endpoints in docs/operating.md.
"""
