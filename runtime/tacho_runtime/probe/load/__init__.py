"""How load is sent: single requests, and loops of many streams in as many processes as they need.

``socket_engine`` is what the probe's phases use. Its ``loops`` are run by a ``load_group``: this process
(``load_worker``) and others (``workers``), whose results are joined.
"""
