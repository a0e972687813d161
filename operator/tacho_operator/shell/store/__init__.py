"""The store: a cache of the objects that decisions read, as an informer cache is.

- Cached: the LLMDeployments, their children, PersistentVolumeClaims and nodes, of each the fields that
  decisions read (trimming.py) as JSON.
- Key: kind, namespace and name (store.py). Indexes: by label and by node (objects.py).
- Writers: one reflector a kind, and a watched namespace, lists and watches (reflector.py, streams.py). The
  operator's own writes are only waited for (expectations.py).
"""
