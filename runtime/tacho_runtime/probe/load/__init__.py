"""How load is sent: single requests, and loops of many streams in as many processes as they need.

``socket_engine`` is what the probe's phases use. It runs a ``LoadJob`` in a ``window``, in this process
(``load_worker``) or in others (``workers``), and joins the results.
"""
