"""What tacho knows of engines: a folder for each, and below them what they share.

Of an engine, for the plan: ``row.py`` (what it is) and ``plan.py`` (PLAN, a base.PlanHalf) with what stands
behind it. For the run: ``run.py`` (RUN, a base.RunHalf) once there is an image, and optional ``dialect.py``
(DIALECT), ``metrics.py`` (METRICS) and ``files.py`` (FILES). ``registry.py`` names the folders;
tests/unit/engines adds one.
"""
