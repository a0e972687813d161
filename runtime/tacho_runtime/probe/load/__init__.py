"""Sends the probe's load: single requests, and loops of many streams in as many processes as these need.

The phases use ``socket_engine``. Its ``loops`` are run by a ``load_group``: this process (``load_worker``)
and others (``workers``), whose results are joined.
"""
