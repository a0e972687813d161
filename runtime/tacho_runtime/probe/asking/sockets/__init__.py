"""An engine under test over sockets: loops of many streams, in as many processes as they need.

``engine`` is what the probe's phases see. It has ``window`` run a ``job``, whose streams ``share`` sends and
counts, and put together what came back.
"""
