"""The engines: one folder per engine, and ``shared`` for code that several use.

Files for the plan: ``profile.py`` (images, methods, formats) and ``plan.py`` (PLAN, a base.PlanHalf) with its
modules. For the run: ``run.py`` (RUN, a base.RunHalf, and optionally DIALECT, METRICS and FILES).
``registry.py`` lists the folders; tests/unit/engines shows how to add one.
"""
