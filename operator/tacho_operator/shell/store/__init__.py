"""The store: a cache of the objects that decisions read, as an informer cache is, with bounds.

- Cached: the LLMDeployments, their children, PersistentVolumeClaims and nodes, of each the fields that
  decisions read (trimming.py) as compressed JSON (compression.py).
- Key: kind, namespace and name (store.py). Indexes: by label, by the controller's uid, by node (objects.py).
- Writers: one reflector a kind, and a watched namespace, lists and watches (reflector.py, streams.py). A few
  live reads put what is missing. The operator's own writes are only waited for (expectations.py).
- Dropped: deleted objects, and what is over a limit (bounds.py), as anyone can create objects with tacho's
  label. Bounded are LLMDeployments, owned children, children without a stored owner (unowned), and bytes.
"""
